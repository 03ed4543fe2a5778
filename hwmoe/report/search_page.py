"""The Pareto plot of a search as one HTML file: point at a machine to see what it is."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from hwmoe.files import replacing
from hwmoe.report.measured_table import summary
from hwmoe.report.search_plot import Rows, front_of
from hwmoe.report.search_table import roofline, why

TEMPLATE = "templates/report/pareto.html.j2"


def write_search_page(result: dict[str, Any], rows: Rows, path: Path) -> None:
    """Self-contained: data and script are in the page, nothing is loaded."""
    text = resources.files("hwmoe").joinpath(TEMPLATE).read_text("utf-8")
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(text)
    data = {
        "rows": list(rows),
        "front": front_of(rows),
        "cycles": result["cycles"],
        "clock": result["clock_mhz"],
    }
    # "<" would let a name end the script.
    script = json.dumps(data).replace("<", "\\u003c")
    lines = [why(result), roofline(result)]
    if "measured" in result:
        lines.append(summary(result))
    with replacing(path) as beside:
        beside.write_text(page.render(result=result, lines=lines, data=script), encoding="utf-8")
