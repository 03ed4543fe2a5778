"""`hwmoe synth`: plain data out, a table for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

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


def synth_folder(folder: Path, timeout: float, say: Progress) -> dict[str, Any]:
    """`hwmoe synth`."""
    return {"folder": str(folder), **synthesize_project(folder, say, timeout)}


def show_synthesis(result: dict[str, Any], console: Console) -> None:
    """A table by module, the total with its share, and what it is not."""
    shown = [name for name in COLUMNS if result["total"][name]]
    table = Table(title=result["top"], title_justify="left")
    table.add_column("module", no_wrap=True)
    for title in ("instances", *(COLUMNS[name] for name in shown), "levels"):
        table.add_column(title, justify="right")
    for name, row in result["modules"].items():
        levels = result["levels"].get(name)
        deep = "-" if levels is None else str(levels)
        table.add_row(name, f"{row['instances']:,}", *_counts(row, shown), deep)
    table.add_section()
    table.add_row("total", "", *_counts(result["total"], shown), "")
    console.print(table)
    table = Table("the whole machine")
    for title in ("taken", result["board"], "share"):
        table.add_column(title, justify="right")
    for name, share in result["share"].items():
        taken, there = result["total"][name], result["available"][name]
        table.add_row(SHARES[name], f"{taken:,}", f"{there:,}", f"{share:.1%}")
    console.print(table)
    console.print(f"{result['tool']}, {result['command']}.")
    for line in result["limits"]:
        console.print(line)
    console.print(f"All of it: {Path(result['folder']) / RESOURCES}", soft_wrap=True, markup=False)


def _counts(row: dict[str, Any], names: list[str]) -> list[str]:
    return [f"{row[name]:,}" if row[name] else "-" for name in names]
