"""What the HTML report says of cycles: tiles, the tables and their chart."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from hwmoe.report import plots
from hwmoe.report.summary import (
    CYCLES,
    STATES,
    Report,
    error_text,
    milliseconds,
    number,
    percent,
    use_texts,
)

View = dict[str, Any]


def tile(label: str, value: str, note: str) -> View:
    """A number in large type, and what it is."""
    return {"label": label, "value": value, "note": note}


def cycle_tiles(report: Report) -> list[View]:
    """The key numbers of the hardware."""
    cycles = report["cycles"]
    steady, latency = cycles["steady"], cycles["latency"]
    how = "predicted" if steady["measured"] is None else "simulated"
    best, first = (row["measured"] or row["predicted"] for row in (steady, latency))
    clock = f"{report['board']['clock_mhz']:g} MHz"
    tiles = [
        tile(f"Cycles per image, {how}", number(best), f"{number(first)} for the first image"),
        tile("Time per image", milliseconds(steady["ms"]), f"at an assumed {clock}; no board"),
        tile(
            "Linear MACs busy",
            percent(cycles["linear_macs"]["utilization"]),
            f"of {number(cycles['linear_macs']['per_cycle'])} a cycle, machine full",
        ),
    ]
    if cycles["traffic"] is not None:
        used, there = cycles["traffic"]["bytes_per_cycle"], cycles["memory"]["bytes_per_cycle"]
        note = f"{used:g} of {there:g} bytes a cycle"
        tiles.append(tile("Off-chip memory used", percent(cycles["traffic"]["share"]), note))
    return tiles


def cycles_view(report: Report) -> View:
    """Rows of the table of cycles, those of the engines, and their chart."""
    cycles = report["cycles"]
    rows = []
    for key, title in CYCLES.items():
        row = cycles[key]
        error, ms = error_text(row["error_percent"]), milliseconds(row["ms"])
        rows.append({"title": title, **row, "error": error, "time": ms})
    engines = [
        {
            "engine": engine,
            "shares": {state: states[state] / sum(states.values()) for state in STATES},
        }
        for engine, states in (cycles["engines"] or {}).items()
    ]
    chart = Markup(plots.engines_chart(engines, "engines")) if engines else ""
    return {
        "rows": rows,
        "engines": engines,
        "states": STATES,
        "chart": chart,
        "images": cycles["images"],
        "memory": cycles["memory"],
        "uses": use_texts(cycles),
        "simulated": bool(engines),
    }
