"""What machines cost by Yosys, beside the formulas: the tables of docs/synthesis.md.

    python benchmarks/synthesis.py PROJECT [PROJECT ...]

A project is a folder of `hwmoe generate`, `run` or `bench`. Synthesis takes minutes, its result
stays in the project. Fails if the formula of multipliers is not exact or that of block RAM is more
than 2.5 % off.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hwmoe.dse.resources import cost_of
from hwmoe.plan.program import Program
from hwmoe.report.progress import Bars
from hwmoe.synth.project import synthesize_project

COLUMNS = {"dsp": "DSP48E2", "lut_sites": "LUT", "ff": "FF", "bram36": "BRAM36"}
FORMULAS = {"dsp": "dsp", "lut_sites": "lut", "ff": "ff", "bram36": "bram36"}
BRAM_ERROR = 2.5  # %
LARGEST = 8


def main(folders: list[str]) -> int:
    if not folders:
        print(__doc__, file=sys.stderr)
        return 2
    print(f"| machine | {' | '.join(COLUMNS.values())} | logic levels |")
    print("|---|" + "--:|" * (len(COLUMNS) + 1))
    wrong = [message for folder in folders for message in _machine(Path(folder))]
    for message in wrong:
        print(message, file=sys.stderr)
    return bool(wrong)


def _machine(folder: Path) -> list[str]:
    """Prints its rows; what is wrong with the formulas."""
    with Bars() as bars:
        result = synthesize_project(folder, bars.update)
    program = Program.load(folder / "program.safetensors")
    predicted = cost_of(program.accelerator, program.sizes)
    total, name = result["total"], folder.name
    levels = sorted(set(result["levels"].values()), reverse=True)
    print(f"| **{name}** | {_figures(total)} | {levels[0]} |")
    print(f"| share of {result['board']} | {_figures(result['share'], '{:.1%}')} | |")
    errors = {
        column: 100 * (getattr(predicted, field) / total[column] - 1)
        for column, field in FORMULAS.items()
    }
    cells = [f"{errors[c]:+.1f} %" if c in errors else "" for c in COLUMNS]
    print(f"| error of the formulas | {' | '.join(cells)} | |")
    shown = sorted(result["modules"].items(), key=lambda item: -item[1]["lut_sites"])
    for module, counts in shown[:LARGEST]:
        print(f"| {module} | {_figures(counts)} | {result['levels'].get(module, '')} |")
    wrong = []
    if errors["dsp"]:
        wrong.append(f"{name}: the formula says {predicted.dsp} DSP48E2")
    if abs(errors["bram36"]) > BRAM_ERROR:
        wrong.append(f"{name}: the formula says {predicted.bram36} BRAM36")
    return wrong


def _figures(counts: dict[str, float], form: str = "{:,}") -> str:
    return " | ".join(form.format(counts[column]) for column in COLUMNS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
