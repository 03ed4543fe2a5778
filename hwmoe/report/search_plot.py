"""The Pareto plot of a search: size against cycles, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from hwmoe.files import replacing

Rows = Sequence[dict[str, Any]]


def front_of(rows: Rows) -> list[dict[str, Any]]:
    """Of rows with `size` and `cycles`, those that no other beats in both, from small to large."""
    found: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda r: (r["size"], r["cycles"])):
        if not found or row["cycles"] < found[-1]["cycles"]:
            found.append(row)
    return found


def write_pareto(result: dict[str, Any], rows: Rows, path: Path) -> None:
    """`rows`: machines, with `size`, `cycles` (estimated), `predicted` (or None) and `stages`."""
    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    axes = figure.subplots()
    stages = sorted({row["stages"] for row in rows})
    for number, count in enumerate(stages):
        own = [row for row in rows if row["stages"] == count]
        axes.plot(
            [100 * row["size"] for row in own],
            [row["cycles"] for row in own],
            "o",
            markersize=3.5,
            alpha=0.55,
            color=f"C{number}",
            label=f"{count} in flight",
        )
    front = front_of(rows)
    sizes, cycles = [100 * r["size"] for r in front], [r["cycles"] for r in front]
    axes.plot(sizes, cycles, "-", color="black", linewidth=1, drawstyle="steps-post", label="front")
    checked = [row for row in rows if row["predicted"]]
    axes.plot(
        [100 * row["size"] for row in checked],
        [row["predicted"] for row in checked],
        "D",
        markersize=7,
        fillstyle="none",
        color="black",
        label="schedule predicted",
    )
    chosen = [row for row in checked if row["predicted"] == result["cycles"]]
    axes.plot(
        [100 * row["size"] for row in chosen],
        [row["predicted"] for row in chosen],
        "*",
        markersize=15,
        color="crimson",
        label="chosen",
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("size: mean share of the board's resources, %")
    axes.set_ylabel("cycles an image (dots: estimate)")
    title = f"{result['model']}, {result['experts']} experts, on {result['board']}"
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(alpha=0.3, which="both", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=130, metadata={"Software": None})
