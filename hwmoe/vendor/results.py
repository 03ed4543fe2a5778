"""vendor.json: what Vivado and Vitis have reported of a project, beside what was predicted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwmoe.codegen.project import Project
from hwmoe.dse.resources import cost_of
from hwmoe.errors import HwmoeError
from hwmoe.synth.project import synthesized
from hwmoe.vendor.reports import parse_csynth, parse_timing, parse_utilization

VENDOR = "vendor.json"
# Report -> its reader, and the places it may be, the first that is there.
REPORTS: dict[str, tuple[Callable[[str], dict[str, Any]], tuple[str, ...]]] = {
    "csynth": (
        parse_csynth,
        (
            "build/hls/hls/syn/report/csynth.xml",
            "build/hls/hwmoe/solution1/syn/report/csynth.xml",
        ),
    ),
    "utilization": (
        parse_utilization,
        ("build/vivado/utilization.rpt", "build/vitis/reports/link/imp/*full_util_routed.rpt"),
    ),
    "timing": (
        parse_timing,
        ("build/vivado/timing.rpt", "build/vitis/reports/link/imp/*timing_summary_routed.rpt"),
    ),
}
LIMITS = (
    "Utilization of Vivado is of the whole design: accelerator, SmartConnects, reset.",
    "Predictions are of the accelerator in SystemVerilog; csynth is an estimate of another machine,"
    " the HLS.",
)


def read_reports(folder: Path) -> dict[str, Any]:
    """Every report that is there, read; `HwmoeError` names the file that cannot be."""
    found: dict[str, Any] = {}
    for name, (parse, places) in REPORTS.items():
        path = next((p for place in places for p in sorted(folder.glob(place))), None)
        if path is None:
            continue
        try:
            found[name] = parse(path.read_text(encoding="utf-8", errors="replace"))
        except HwmoeError as error:
            raise HwmoeError(f"{path}: {error}") from None
        found[name]["file"] = path.relative_to(folder).as_posix()
    return found


def predictions(project: Project, folder: Path) -> dict[str, Any]:
    """By formula, and by Yosys if `hwmoe synth` was run on the same sources."""
    cost = cost_of(project.program.accelerator, project.program.sizes)
    found: dict[str, Any] = {
        "clock_mhz": project.board.clock_mhz,
        "formula": {name: getattr(cost, name) for name in ("lut", "ff", "dsp", "bram36", "uram")},
    }
    if total := synthesized(project, folder):
        names = {"lut": "lut_sites", "ff": "ff", "dsp": "dsp", "bram36": "bram36", "uram": "uram"}
        found["yosys"] = {name: total[own] for name, own in names.items()}
    return found


def comparison(project: Project, folder: Path) -> dict[str, Any]:
    """What goes into vendor.json, but how it was run."""
    reports = read_reports(folder)
    result: dict[str, Any] = {"predicted": predictions(project, folder), "reports": reports}
    timing = reports.get("timing")
    if timing and timing["wns_ns"] is not None:
        period = 1e3 / project.board.clock_mhz
        slack = timing["wns_ns"]
        result["clock"] = {
            "asked_mhz": project.board.clock_mhz,
            "wns_ns": slack,
            "met": timing["met"],
            "possible_mhz": round(1e3 / (period - slack), 1) if slack < period else None,
        }
    return {**result, "limits": list(LIMITS)}
