"""`hwmoe synth`: plain data out, a table for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hwmoe.codegen.project import PROGRAM
from hwmoe.dse.resource_model import logic_by_module
from hwmoe.dse.resources import cost_of
from hwmoe.plan.program import Program
from hwmoe.quant.calibrate import Progress
from hwmoe.synth.project import RESOURCES, synthesize_project

COLUMNS = {
    "lut": "LUT",
    "lutram": "LUTRAM",
    "srl": "SRL",
    "ff": "FF",
    "carry": "CARRY",
    "dsp": "DSP",
    "bram36": "BRAM36",
    "uram": "URAM",
}
SHARES = {
    "lut_sites": "LUT (with LUTRAM and SRL)",
    "ff": "FF",
    "dsp": "DSP48E2",
    "bram36": "BRAM36",
    "uram": "URAM",
}


Counts = dict[str, float]


def synth_folder(folder: Path, timeout: float, say: Progress) -> dict[str, Any]:
    """`hwmoe synth`; `predicted` is what the formulas say."""
    result = synthesize_project(folder, say, timeout)
    predicted = predictions(Program.load(folder / PROGRAM))
    return {"folder": str(folder), **result, "predicted": predicted}


def predictions(program: Program) -> dict[str, Any]:
    """By formula: `total`, and LUTs and flip-flops by module, by the names of `Cells`."""
    acc, sizes = program.accelerator, program.sizes
    modules: dict[str, Counts] = {}
    for part in logic_by_module(acc, sizes).values():
        for name, logic in part.items():
            if not (logic.lut or logic.ff):  # a kind of kernel that this machine has not
                continue
            found = modules.setdefault(f"hwmoe_{name}", {"lut_sites": 0, "ff": 0})
            found["lut_sites"] += logic.lut
            found["ff"] += logic.ff
    cost = cost_of(acc, sizes)
    total = {
        "lut_sites": cost.lut,
        "ff": cost.ff,
        "dsp": cost.dsp,
        "bram36": cost.bram36,
        "uram": cost.uram,
    }
    return {"total": total, "modules": modules}


_WIDEST = 160


def show_synthesis(result: dict[str, Any], console: Console) -> None:
    """A table by module, the total with its share, and what it is not."""
    shown = [name for name in COLUMNS if result["total"][name]]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(result["top"], no_wrap=True)
    formulas = ("LUTs by formula", "FF by formula")
    for title in ("instances", *(COLUMNS[name] for name in shown), *formulas, "levels"):
        table.add_column(title, justify="right")
    predicted = result["predicted"]
    for name, row in result["modules"].items():
        levels = result["levels"].get(name)
        deep = "-" if levels is None else str(levels)
        own = _formulas(row, predicted["modules"].get(name, {}))
        table.add_row(name, f"{row['instances']:,}", *_counts(row, shown), *own, deep)
    table.add_section()
    own = _formulas(result["total"], predicted["total"])
    table.add_row("total", "", *_counts(result["total"], shown), *own, "")
    narrow = console.width
    console.width = max(narrow, _WIDEST)  # figures cut short would be worth nothing
    console.print(table)
    console.width = narrow
    table = Table("the whole machine")
    for title in ("taken", "by formula", result["board"], "share"):
        table.add_column(title, justify="right")
    for name, share in result["share"].items():
        taken, there = result["total"][name], result["available"][name]
        formula = _with_error(predicted["total"][name], taken)
        table.add_row(SHARES[name], f"{taken:,}", formula, f"{there:,}", f"{share:.1%}")
    console.print(table)
    console.print(f"{result['tool']}, {result['command']}.")
    for line in result["limits"]:
        console.print(line)
    console.print(f"All of it: {Path(result['folder']) / RESOURCES}", soft_wrap=True, markup=False)


def _counts(row: dict[str, Any], names: list[str]) -> list[str]:
    return [f"{row[name]:,}" if row[name] else "-" for name in names]


def _formulas(row: dict[str, Any], predicted: Counts) -> list[str]:
    """LUTs (with LUTRAM and SRL) and flip-flops."""
    return [_with_error(predicted.get(name, 0), row[name]) for name in ("lut_sites", "ff")]


def _with_error(predicted: float, counted: float) -> str:
    """With the relative error where there is something to compare."""
    if not predicted and not counted:
        return "-"
    return f"{predicted:,} ({predicted / counted - 1:+.0%})" if counted else f"{predicted:,}"
