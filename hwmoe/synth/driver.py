"""`python -m hwmoe.synth.driver SCRIPT` runs a script of Yosys commands, one a line.

For each module that it maps to LUTs, abc9 normalizes the whole design (Yosys 0.70, write_xaiger2),
so its time grows with the square of a machine. Here the modules are mapped in batches, and the
others are black boxes meanwhile. What comes out is what the script gives by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from pyosys import libyosys

CELLS = 9000  # of a batch, before LUTs are mapped; a design of fewer is mapped at once
WHOLE = " -run begin:check"
BEFORE, AFTER = " -run begin:map_luts", " -run map_luts:check"


def batches(cells: Mapping[str, int]) -> Iterator[list[str]]:
    """Modules by their number of cells, small ones together."""
    batch: list[str] = []
    total = 0
    for name, count in sorted(cells.items(), key=lambda entry: (entry[1], entry[0])):
        if batch and total + count > CELLS:
            yield batch
            batch, total = [], 0
        batch.append(name)
        total += count
    if batch:
        yield batch


def run(script: str) -> None:
    """Every command of the script; LUTs in batches where there are many modules."""
    design = libyosys.Design()
    with open(script, encoding="utf-8") as lines:
        for line in map(str.strip, lines):
            if line.startswith("synth_") and line.endswith(WHOLE):
                _synthesize(design, line.removesuffix(WHOLE))
            else:
                libyosys.run_pass(line, design)


def _synthesize(design: libyosys.Design, command: str) -> None:
    libyosys.run_pass(command + BEFORE, design)
    own = {str(m.name): len(m.cells_) for m in design.selected_unboxed_modules()}
    groups = list(batches(own))
    if len(groups) == 1:
        libyosys.run_pass(command + AFTER, design)
        return
    libyosys.run_pass("design -save whole", design)
    libyosys.run_pass("blackbox", design)
    libyosys.run_pass("design -save boxes", design)
    synth, _ = command.split(" -top ")
    for group in groups:
        names = " ".join(group)
        libyosys.run_pass("design -load boxes", design)
        libyosys.run_pass(f"delete {names}", design)
        libyosys.run_pass(f"design -copy-from whole {names}", design)
        libyosys.run_pass(f"{synth} -top {group[0].removeprefix(chr(92))}{AFTER}", design)
        libyosys.run_pass(f"design -copy-to whole {names}", design)
    libyosys.run_pass("design -load whole", design)


if __name__ == "__main__":
    run(sys.argv[1])
