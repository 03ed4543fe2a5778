"""What `hwmoe search` found, as tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from hwmoe.report.measured_table import RESOURCES, show_measured
from hwmoe.report.summary import number, percent

Result = dict[str, Any]
LIMITS = {**RESOURCES, "slr": "what one SLR has"}
GOALS = {
    "throughput": "most images a second",
    "latency": "one image alone, soonest",
    "size": "the smallest machine",
}
BUSY = 0.8  # of the time: what others wait for


def show_search(result: Result, console: Console) -> None:
    """The plan, why it is this one, its resources and where it stands under the roofline."""
    goal = GOALS[result["objective"]]
    if result["rate"]:
        goal += f" of {result['rate']:,.0f} images/s"
    line = (
        f"{result['model']}, {result['experts']} experts, on {result['board']}: {goal}, "
        f"of {result['machines']:,} machines ({result['strategy']}, seed {result['seed']})"
    )
    console.print(line, soft_wrap=True, highlight=False)
    accelerator = dict(result["accelerator"])
    stages = accelerator.pop("stages")
    for part, sizes in accelerator.items():
        text = ", ".join(f"{name}={value}" for name, value in sizes.items())
        console.print(f"  {part:<10} {text}", highlight=False, soft_wrap=True)
    console.print(f"  {'stages':<10} {stages}", highlight=False)
    unit = "of one image alone" if result["objective"] == "latency" else "between images"
    console.print(
        f"Predicted: {result['cycles']:,} cycles {unit}, {result['ms']:.4g} ms, "
        f"{result['images_a_second']:,.0f} images/s at the assumed {result['clock_mhz']:g} MHz",
        soft_wrap=True,
        highlight=False,
    )
    console.print(_engines(result))
    console.print(_resources(result))
    for text in (why(result), roofline(result)):
        console.print(text, soft_wrap=True, highlight=False)
    if "measured" in result:
        show_measured(result, console)
    if "folder" in result:
        console.print(f"Plan: {result['folder']}/plan.json", soft_wrap=True, highlight=False)


def _engines(result: Result) -> Table:
    table = Table("engine")
    for title in ("cycles an image by formula", "by schedule", "running", "waiting"):
        table.add_column(title, justify="right")
    for row in result["engines"]:
        bound = number(row["bound"]) if row["bound"] else "-"
        rest = percent(1 - row["running"])
        table.add_row(row["engine"], bound, number(row["busy"]), percent(row["running"]), rest)
    return table


def _resources(result: Result) -> Table:
    table = Table("resource")
    for title in ("taken, by formula", "share", "allowed"):
        table.add_column(title, justify="right")
    for name, share in result["shares"].items():
        taken, allowed = result["resources"][name], result["shares_allowed"][name]
        table.add_row(RESOURCES[name], f"{taken:,}", percent(share), percent(allowed))
    return table


def why(result: Result) -> str:
    """What keeps the machine from being faster."""
    busiest = max(result["engines"], key=lambda row: row["running"])
    engine = f"the {busiest['engine']} engine runs {percent(busiest['running'])} of the time"
    if result["objective"] == "size":
        return f"Binds: the rate asked for; {engine}."
    if result["binding"]:
        first = result["binding"][0]
        gain = first["cycles"] / result["estimate"]
        return (
            f"Binds: {LIMITS[first['name']]}. With more of it a faster linear kernel or expert "
            f"engine would fit beside the same attention, saving {percent(gain)} of the cycles by "
            f"estimate; {engine}."
        )
    memory = result["roofline"]["memory_cycles"] / result["cycles"]
    if memory > BUSY:
        return f"Binds: reading weights takes {percent(memory)} of the time; {engine}."
    if busiest["running"] > BUSY:
        return f"Binds: {engine}, and the others wait for it."
    return (
        f"Binds: no resource of the board; {engine}, and waits for tokens of the others in the "
        "rest (the chain of an image's steps, with the latency of each)."
    )


def roofline(result: Result) -> str:
    roof = result["roofline"]
    return (
        f"Roofline: {roof['intensity']:.1f} operations a byte of weights; roof "
        f"{roof['roof_gops']:,.0f} GOPS ({roof['bound']}: {roof['compute_gops']:,.0f} GOPS, "
        f"{roof['memory_gb_s']:.3g} GB/s); predicted {roof['attained_gops']:,.0f} GOPS, "
        f"{percent(roof['attained_gops'] / roof['roof_gops'])} of it"
    )


def show_boards(result: Result, console: Console) -> None:
    """A row a board."""
    table = Table(title=f"{result['model']}: the best machine of each board", title_justify="left")
    table.add_column("board", no_wrap=True)
    for title in ("experts", "cycles", "ms", "images/s", "DSP", "BRAM36", "LUT"):
        table.add_column(title, justify="right")
    table.add_column("binds")
    for row in result["boards"]:
        if "refused" in row:
            table.add_row(row["board"], *["-"] * 7, row["refused"].splitlines()[1].strip())
            continue
        shares = [percent(row["shares"][name], 0) for name in ("dsp", "bram36", "lut")]
        binds = LIMITS[row["binding"][0]["name"]] if row["binding"] else "no resource"
        table.add_row(
            row["board"],
            row["experts"],
            number(row["cycles"]),
            f"{row['ms']:.4g}",
            number(row["images_a_second"]),
            *shares,
            binds,
        )
    console.print(table)
    console.print(
        "Predicted cycles; ms at each board's assumed clock; shares of resources by formula."
    )
