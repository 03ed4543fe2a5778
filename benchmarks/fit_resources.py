"""Fit the formulas of LUTs and registers on syntheses by Yosys, and check them on others.

    python benchmarks/fit_resources.py measure [--check N] [--fit N] [--jobs J] [--seconds S]
    python benchmarks/fit_resources.py fit [--check N] [--fit N]
    python benchmarks/fit_resources.py check

`measure` synthesizes the parts of random machines, those to fit on and those to check by, of other
seeds; what is done stays in build/resources, so it may be stopped and started again. `fit` writes
hwmoe/dse/resources.toml and tests/dse/resources_measured.json, `check` prints the errors.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from resource_fit import write_measured, write_model
from resource_runs import KEY, Machine, folder_of, measure
from resource_samples import FIXED, machines
from resource_table import print_errors

from hwmoe.errors import HwmoeError

KEPT = Path("build/resources")
MEASURED = Path("tests/dse/resources_measured.json")
MODEL = Path("hwmoe/dse/resources.toml")
SEEDS = {"fit": 1, "check": 3}
POOL = 14  # lists of kernels that machines are made of


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Format)
    parser.add_argument("what", choices=("measure", "fit", "check"))
    parser.add_argument("--fit", type=int, default=8, help="machines to fit on (default 8)")
    parser.add_argument("--check", type=int, default=60, help="and to check by (default 60)")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3600, help="start no synthesis after")
    args = parser.parse_args()
    drawn = {use: machines(seed, getattr(args, use), POOL) for use, seed in SEEDS.items()}
    if args.what == "measure":
        return _measure(drawn, args.jobs, args.seconds)
    if args.what == "fit":
        drawn["fit"] = [*FIXED, *drawn["fit"]]
        write_measured(drawn, KEPT, MEASURED)
        write_model(MEASURED, MODEL)
    return print_errors(MEASURED)


class _Format(argparse.RawDescriptionHelpFormatter):
    pass


def _measure(drawn: dict[str, list[Machine]], jobs: int, seconds: float) -> int:
    """Machine after machine, those to fit on first; a part that machines share once."""
    parts = {
        folder_of(m, part, KEPT): (m, part)
        for own in drawn.values()
        for m in own
        for part in m.parts
    }
    wanted = [work for folder, work in parts.items() if not (folder / KEY).is_file()]
    print(f"{len(wanted)} of {len(parts)} parts are not known", file=sys.stderr)
    end, done, failed = time.monotonic() + seconds, 0, 0

    def run(machine: Machine, part: str) -> bool:
        if time.monotonic() > end:
            return False
        measure(machine, part, KEPT)
        return True

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        pending = [pool.submit(run, *work) for work in wanted]
        for job in as_completed(pending):
            try:
                done += job.result()
            except HwmoeError as error:
                failed += 1
                print(error, file=sys.stderr)
            print(f"\r{done} of {len(wanted)} parts", end="", file=sys.stderr)
    print(file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
