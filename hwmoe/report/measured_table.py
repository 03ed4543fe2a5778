"""What `hwmoe search --measure` measured, beside what was predicted: a table for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from hwmoe.report.summary import number

Result = dict[str, Any]
RESOURCES = {"dsp": "DSP", "bram36": "BRAM36", "lut": "LUT", "ff": "FF", "uram": "URAM"}


def show_measured(result: Result, console: Console) -> None:
    """`result`: of a search, with `measured` in it."""
    measured = result["measured"]
    unit = "of one image alone" if result["objective"] == "latency" else "between images"
    table = Table("plan", "", title=f"Measured ({' and '.join(measured['tools'].values())})")
    table.title_justify = "left"
    for title in ("predicted", "measured", "error", "allowed"):
        table.add_column(title, justify="right")
    for order, plan in enumerate(measured["plans"], 1):
        table.add_section()
        label = f"{order}: {plan['verdict']}"
        for name, row in plan["rows"].items():
            if name == "cycles" or row["measured"]:
                table.add_row(label, RESOURCES.get(name, name), *_cells(row))
                label = ""
    console.print(table, markup=False)
    for order, plan in enumerate(measured["plans"], 1):
        line = f"{order}: {plan['says']}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)
        for problem in plan["problems"]:
            console.print(f"   {plan['verdict']}: {problem}", soft_wrap=True, markup=False)
    console.print(summary(result), soft_wrap=True, highlight=False)
    inwards = "; resources of the machine from its AXI ports inwards"
    more = inwards if "resources" in measured["tools"] else ""
    console.print(f"Cycles {unit}, predicted for the experts that these images choose{more}.")


def summary(result: Result) -> str:
    """The pick in a line."""
    measured = result["measured"]
    chosen = next(plan for plan in measured["plans"] if plan["verdict"] == "chosen")
    run = chosen["simulated"]
    return (
        f"Measured: {measured['cycles']:,} cycles, {measured['ms']:.4g} ms, "
        f"{measured['images_a_second']:,.0f} images/s at the assumed {result['clock_mhz']:g} MHz; "
        f"{run['images']} images bit-exact, {run['values']:,} values of the first compared"
    )


def _cells(row: Result) -> list[str]:
    """A figure that was not measured is a dash."""

    def plain(value: float | None) -> str:
        if value is None:
            return "-"
        return number(value, 1) if value % 1 and value < 1000 else number(value)

    error = "-" if row["error"] is None else f"{row['error']:+.1%}"
    return [plain(row["predicted"]), plain(row["measured"]), error, plain(row["allowed"])]
