"""Reports of Vivado and Vitis HLS as data. Formats are AMD's; no report of a run of hwmoe exists.

Looked up in public reports and in tests of public tools: `report_utilization` and
`report_timing_summary` of Vivado 2017 to 2026, csynth.xml of Vitis HLS 2020 to 2025.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

from hwmoe.errors import HwmoeError

# Row of report_utilization -> name used here. UltraScale+ says CLB where the 7 series says Slice.
_SITES = {
    "CLB LUTs": "lut",
    "Slice LUTs": "lut",
    "CLB Registers": "ff",
    "Slice Registers": "ff",
    "Block RAM Tile": "bram36",
    "URAM": "uram",
    "DSPs": "dsp",
}
_TIMING = {"WNS(ns)": "wns_ns", "TNS(ns)": "tns_ns", "WHS(ns)": "whs_ns", "WPWS(ns)": "wpws_ns"}
_MET = "All user specified timing constraints are met."
_NOT_MET = "Timing constraints are not met."
_HEADER = re.compile(
    r"^\| (Tool Version|Design|Device|Design State)[ \t]*:[ \t]*(.+?)[ \t]*$", re.M
)


def parse_utilization(text: str) -> dict[str, Any]:
    """`used`, `available`: lut, ff, bram36, uram, dsp, as far as the report has them; `header`."""
    used: dict[str, float] = {}
    available: dict[str, float] = {}
    columns: list[str] = []
    for cells in _rows(text):
        if cells[0] == "Site Type":
            columns = cells
        elif columns and len(cells) == len(columns):
            name = _SITES.get(cells[0].rstrip("*"))
            row = dict(zip(columns, cells, strict=True))
            if name and name not in used and row.get("Available"):
                used[name], available[name] = _number(row["Used"]), _number(row["Available"])
    if "lut" not in used:
        raise HwmoeError("not a report of report_utilization: it has no row of LUTs")
    return {"header": _header(text), "used": used, "available": available}


def parse_timing(text: str) -> dict[str, Any]:
    """wns_ns, tns_ns, whs_ns, wpws_ns (null if there is none), `met`, `clocks` by name in MHz."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        names = re.findall(r"\S+\(ns\)|\S+ (?:Failing|Total) Endpoints", line)
        if "WNS(ns)" in names and index + 2 < len(lines):
            values = lines[index + 2].split()
            break
    else:
        raise HwmoeError("not a report of report_timing_summary: it has no WNS")
    if len(values) != len(names):
        raise HwmoeError(f"report_timing_summary: {len(values)} values for {len(names)} columns")
    row = dict(zip(names, values, strict=True))
    found: dict[str, Any] = {
        name: _optional(row[column]) for column, name in _TIMING.items() if column in row
    }
    if _MET not in text and _NOT_MET not in text:
        raise HwmoeError("report_timing_summary: it does not say whether constraints are met")
    return {"header": _header(text), **found, "met": _MET in text, "clocks": _clocks(lines)}


def parse_csynth(text: str) -> dict[str, Any]:
    """Of csynth.xml: part, version, target and estimated period, latency in cycles (null where HLS
    cannot know it), `used` and `available` with BRAM in blocks of 36 Kbit."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise HwmoeError(f"csynth.xml: not XML ({error})") from None
    area = root.find("AreaEstimates/Resources")
    if area is None:
        raise HwmoeError("csynth.xml: no AreaEstimates/Resources")
    timing = "PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod"
    latency = "PerformanceEstimates/SummaryOfOverallLatency/"
    return {
        "version": root.findtext("ReportVersion/Version"),
        "part": root.findtext("UserAssignments/Part"),
        "top": root.findtext("UserAssignments/TopModelName"),
        "target_ns": _optional(root.findtext("UserAssignments/TargetClockPeriod")),
        "estimated_ns": _optional(root.findtext(timing)),
        "latency_best": _optional(root.findtext(f"{latency}Best-caseLatency")),
        "latency_worst": _optional(root.findtext(f"{latency}Worst-caseLatency")),
        "used": _area(area),
        "available": _area(root.find("AreaEstimates/AvailableResources")),
    }


def _area(node: ElementTree.Element | None) -> dict[str, float]:
    names = {"LUT": "lut", "FF": "ff", "DSP": "dsp", "DSP48E": "dsp", "URAM": "uram"}
    found: dict[str, float] = {}
    for child in node if node is not None else ():
        value = _optional(child.text)
        if value is not None and child.tag in names:
            found[names[child.tag]] = value
        elif value is not None and child.tag == "BRAM_18K":
            found["bram36"] = value / 2
    return found


def _rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.startswith("|") and line.rstrip().endswith("|"):
            yield [cell.strip() for cell in line.strip().strip("|").split("|")]


def _header(text: str) -> dict[str, str]:
    return {name.lower().replace(" ", "_"): value for name, value in _HEADER.findall(text)}


def _clocks(lines: list[str]) -> dict[str, float]:
    """Frequencies of the table "Clock Summary", MHz."""
    found: dict[str, float] = {}
    for line in lines:
        row = re.match(r"^\s*(\S+)\s+\{[\d. ]+\}\s+([\d.]+)\s+([\d.]+)\s*$", line)
        if row:
            found[row[1]] = float(row[3])
    return found


def _number(text: str) -> float:
    return float(text.lstrip("<").replace(",", ""))


def _optional(text: str | None) -> float | None:
    """A number, or None: reports say NA, undef, ? or nothing where there is none."""
    try:
        return float(text) if text else None
    except ValueError:
        return None
