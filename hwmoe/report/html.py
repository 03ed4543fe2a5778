"""The report as one HTML file: no script, nothing loaded from elsewhere, reproducible bytes."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hwmoe.report import plots
from hwmoe.report.experts import experts_view
from hwmoe.report.html_cycles import View, cycle_tiles, cycles_view, tile
from hwmoe.report.plots import Pictures
from hwmoe.report.summary import (
    UNKNOWN,
    Report,
    counted,
    known,
    number,
    percent,
    saturation_text,
    verdict,
)

__all__ = ["Pictures", "write_html"]


@cache
def _environment() -> Environment:
    """Like hwmoe.codegen.render, but everything a template places is escaped."""
    environment = Environment(
        loader=PackageLoader("hwmoe", "templates/report"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "counted": counted}
    return environment


def _accuracy(report: Report) -> list[View]:
    """Rows of the accuracy table; the difference in points where there are labels."""
    rows = []
    for row in report["accuracy"]:
        fp, integer = row["float_top1"], row["integer_top1"]
        labelled = known(fp) and known(integer)
        delta = 100 * (integer - fp) if labelled else None
        rows.append({**row, "labelled": labelled, "delta": number(delta, 1, signed=True)})
    return rows


def _mean(rows: list[View], key: str) -> float | None:
    images = sum(row["images"] for row in rows)
    return sum(row[key] * row["images"] for row in rows) / images if images else None


def _accuracy_tiles(report: Report) -> list[View]:
    rows = _accuracy(report)
    labelled = [row for row in rows if row["labelled"]]
    agreement = percent(_mean(rows, "agreement"))
    images = counted(sum(row["images"] for row in rows), "images")
    tiles = [tile("Same answer as PyTorch", agreement, f"over {images}, all tasks")]
    if labelled:
        integer, fp = (percent(_mean(labelled, f"{kind}_top1")) for kind in ("integer", "float"))
        tiles.insert(0, tile("Accuracy, integer", integer, f"PyTorch {fp}"))
    return tiles


def _tiles(report: Report) -> list[View]:
    """The key numbers at the top."""
    shown = [row["sqnr_db"] for row in report["layers"] if known(row["sqnr_db"])]
    return [
        *_accuracy_tiles(report),
        *cycle_tiles(report),
        tile("Lowest SQNR", f"{number(min(shown, default=None), 1)} dB", "over all layers"),
        tile("Saturated values", number(report["saturation"]["total"]), saturation_text(report)),
    ]


def _layers(report: Report) -> list[View]:
    """Per task: the chart, the three lowest tensors in words, the rows of the table."""
    rows = report["layers"]
    limits = plots.sqnr_limits(rows)
    views = []
    for index, task in enumerate(dict.fromkeys(row["task"] for row in rows)):
        mine = [row for row in rows if row["task"] == task]
        lowest = sorted((r for r in mine if known(r["sqnr_db"])), key=lambda r: r["sqnr_db"])[:3]
        chart = Markup(plots.sqnr_chart(mine, f"sqnr{index}", limits))
        experts = any(".experts." in row["name"] for row in mine)
        views.append(
            {"task": task, "rows": mine, "lowest": lowest, "chart": chart, "has_experts": experts}
        )
    return views


def _ranges(report: Report) -> View:
    """Use of each format; reaching the limit is no fault, clipping is, so that stands beside it."""
    by_task = report["saturation"]["sites"].values()
    rows = [
        {
            **row,
            "used": row["largest"] / row["limit"],
            "clipped": sum(counts.get(row["name"], 0) for counts in by_task),
        }
        for row in report["ranges"]
    ]
    chart = Markup(plots.ranges_chart(rows, "ranges")) if rows else ""
    return {"rows": rows, "chart": chart}


def _saturation(report: Report) -> View:
    """Sites that clipped, most first, with a count for every task."""
    by_task = report["saturation"]["sites"]
    sites = dict.fromkeys(site for counts in by_task.values() for site in counts)
    rows = []
    for site in sites:
        counts = [by_task[task].get(site, 0) for task in by_task]
        rows.append({"site": site, "counts": counts, "total": sum(counts)})
    rows.sort(key=lambda row: -row["total"])
    most = max((row["total"] for row in rows), default=1) or 1
    for row in rows:
        row["width"] = f"{100 * row['total'] / most:.1f}"
    return {"tasks": list(by_task), "rows": rows, "text": saturation_text(report)}


def _shares(counts: list[int]) -> list[float]:
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _load_cell(share: float, largest: float, count: int) -> View:
    return {
        "text": number(100 * share, 1),
        "kind": "share" if count else "dead",
        "strength": f"{0.8 * share / largest:.3f}",
        "title": counted(count, "tokens"),
    }


def _change_cell(before: int, after: int, change: float) -> View:
    return {
        "text": number(100 * change, 1, signed=True),
        "kind": "more" if change > 0 else "less",
        "strength": f"{min(0.8, 16 * abs(change)):.3f}",
        "title": f"{before:,} in PyTorch, {after:,} in integers",
    }


def _load_row(load: View, shares: View, largest: float) -> View:
    """The cells of one layer in each of the three maps, and its dead experts."""
    row: View = {
        kind: [
            _load_cell(share, largest, count)
            for share, count in zip(shares[kind], load[kind], strict=True)
        ]
        for kind in ("integer", "float")
    }
    pairs = list(zip(load["float"], load["integer"], strict=True))
    moved = zip(shares["float"], shares["integer"], strict=True)
    row["difference"] = [
        _change_cell(*pair, after - before)
        for pair, (before, after) in zip(pairs, moved, strict=True)
    ]
    row["dead"] = [
        (expert, f"{counted(fp, 'tokens')} in PyTorch" if fp else "in PyTorch too")
        for expert, (fp, integer) in enumerate(pairs)
        if not integer
    ]
    return row


def _load_task(task: str, layers: View) -> View:
    """Three heat maps of a task on one scale: integer, PyTorch, and the difference in points."""
    shares = {
        layer: {kind: _shares(load[kind]) for kind in ("integer", "float")}
        for layer, load in layers.items()
    }
    largest = max(share for maps in shares.values() for row in maps.values() for share in row)
    experts = max(len(load["integer"]) for load in layers.values())
    rows = {layer: _load_row(load, shares[layer], largest or 1.0) for layer, load in layers.items()}
    return {
        "task": task,
        "experts": range(experts),
        "even": percent(1 / experts),
        "rows": rows,
        "agreement": {layer: load["routing_agreement"] for layer, load in layers.items()},
        "dead": [(layer, *item) for layer, row in rows.items() for item in row["dead"]],
    }


def _plain(value: Any) -> str:
    """A value of the configuration as text."""
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value) or "none"
    if isinstance(value, dict) and set(value) == {"name", "classes"}:
        return f"{value['name']} ({counted(value['classes'], 'classes')})"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return number(value)
    return UNKNOWN if value is None else str(value)


def _configuration(report: Report) -> list[View]:
    parts = dict(report["accelerator"])
    parts["images in flight"] = {"stages": parts.pop("stages")}
    engines = ("linear", "expert", "attention")
    groups = {
        "Model": report["model"],
        "Board (assumed)": report["board"],
        "Quantization": {"experts": report["experts"], **report["quantization"]},
        **{f"{part} engine" if part in engines else part: sizes for part, sizes in parts.items()},
        "Seconds on this machine": report["seconds"],
        "Versions": report["versions"],
    }
    return [
        {"title": title, "rows": [(re.sub("_", " ", key), _plain(v)) for key, v in rows.items()]}
        for title, rows in groups.items()
    ]


def _context(report: Report, pictures: Pictures) -> View:
    load = [
        {**_load_task(task, layers), **experts_view(report, index, task)}
        for index, (task, layers) in enumerate(report["expert_load"].items())
        if layers
    ]
    return {
        "report": report,
        "verdict": verdict(report),
        "tiles": _tiles(report),
        "accuracy": _accuracy(report),
        "layers": _layers(report),
        "ranges": _ranges(report),
        "chosen": report.get("ranges_chosen") or [],
        "saturation": _saturation(report),
        "load": load,
        "maps": plots.attention_maps(pictures),
        "layer": pictures.layer,
        "cycles": cycles_view(report),
        "clock": f"{report['board']['clock_mhz']:g} MHz",
        "configuration": _configuration(report),
    }


def write_html(report: Report, pictures: Pictures, path: Path) -> None:
    """Write the report to `path`, a single file; it appears whole or not at all."""
    text = _environment().get_template("report.html.j2").render(_context(report, pictures))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(text.encode("utf-8", "replace"))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
