"""How far predicted cycles are from simulated ones: the table of docs/cycles.md.

    python benchmarks/cycles.py [held-out | any-memory | training] [--only PART ...] [--quick]

Kernels: random configurations and commands at full speed; a command may be 1 % or 16 cycles off.
Whole machine: random machines, models, memories and routing; 3 %. Memories are as fast as those
of the boards, but slower too in the sets any-memory and training. Formulas are mended on the
training set only. Simulators and simulated cycles are kept in build/cycles, so that it can be
stopped and run again, and a changed formula costs no simulation; all of it takes about 40 minutes
of a core. Exit status 1 if anything is beyond its limit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from cycles_kernels import BENCHES, kernel_samples
from cycles_machines import machine_samples
from cycles_results import HEADER, Sample, row

from hwmoe.flow.kept import Kept
from hwmoe.plan.board import board_names, load_board

ENTROPY = {"held-out": 20_261_122, "any-memory": 20_261_122, "training": 1}
# Those of 20_261_122 to 20_261_127 were looked into: they are training machines now.
MACHINES_ENTROPY = {"held-out": 20_261_128, "any-memory": 20_261_129, "training": 1}
ANY_MEMORY = 2**1.5, 64.0  # bytes a cycle
# Configurations or machines, and runs of each: 200 at least.
COUNTS = {
    "linear": (5, 40),
    "expert": (5, 40),
    "attention": (3, 70),
    "layernorm": (3, 70),
    "gate": (3, 70),
    "machine": (8, 25),
}
QUICK = 2, 12  # of anything


def main(given: Sequence[str]) -> int:
    parts = [*BENCHES, "machine"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", nargs="?", choices=list(ENTROPY), default="held-out")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, metavar="PART")
    parser.add_argument("--quick", action="store_true", help="few configurations and runs")
    parser.add_argument("--machines", type=int, help="not all of them")
    parser.add_argument("--folder", type=Path, default=Path("build/cycles"))
    asked = parser.parse_args(given)
    torch.set_num_threads(1)
    asked.folder.mkdir(parents=True, exist_ok=True)
    kept, entropy = Kept(asked.folder), ENTROPY[asked.set]
    rows: dict[str, tuple[int, list[Sample]]] = {}
    for name in asked.only:
        count, runs = QUICK if asked.quick else COUNTS[name]
        if name == "machine":
            rows |= _machines(asked.set, asked.machines or count, runs, kept)
        else:
            found = []
            for samples in kernel_samples(name, entropy, count, runs, kept):
                found += samples
                _say(name, len(found), samples)
            rows[name] = count, found
    print(HEADER)
    for name, (count, samples) in rows.items():
        print(row(name, count, samples))
    beyond = [sample for _, samples in rows.values() for sample in samples if sample.of_allowed > 1]
    for sample in sorted(beyond, key=lambda s: -s.of_allowed):
        print(f"beyond the limit: {_described(sample)}", file=sys.stderr)
    return bool(beyond)


def _machines(
    which: str, machines: int, programs: int, kept: Kept
) -> dict[str, tuple[int, list[Sample]]]:
    firsts: list[Sample] = []
    steadies: list[Sample] = []
    boards = [load_board(name).bytes_per_cycle for name in board_names()]
    rates = (min(boards), max(boards)) if which == "held-out" else ANY_MEMORY
    entropy = MACHINES_ENTROPY[which]
    for first, steady in machine_samples(entropy, machines, programs, rates, kept):
        firsts += first
        steadies += steady
        _say("first image", len(firsts), first)
        _say("cycles an image", len(steadies), steady)
    return {
        "whole machine, first image": (machines, firsts),
        "whole machine, cycles an image": (machines, steadies),
    }


def _say(name: str, done: int, samples: Sequence[Sample]) -> None:
    """Progress: how many so far, and the worst of the last."""
    worst = max(samples, key=lambda s: s.of_allowed)
    print(f"{name}: {done} compared, worst of these: {_described(worst)}", file=sys.stderr)


def _described(sample: Sample) -> str:
    return (
        f"{sample.what}: {sample.predicted:,.0f} predicted, {sample.simulated:,.0f} simulated,"
        f" {sample.share:+.2%}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
