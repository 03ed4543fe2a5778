"""Parsers of reports, on texts in AMD's formats. They are not of runs: none could be made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hwmoe.codegen.project import Project
from hwmoe.errors import HwmoeError
from hwmoe.vendor.explain import explain, known_failures
from hwmoe.vendor.reports import parse_csynth, parse_timing, parse_utilization
from hwmoe.vendor.results import comparison

# Rows and columns as Vivado 2022 and later print them: with the column "Prohibited".
ULTRASCALE = """\
Copyright 1986-2022 Xilinx, Inc. All Rights Reserved.
---------------------------------------------------------------------------------------------
| Tool Version : Vivado v.2022.2 (lin64) Build 3671981 Fri Oct 14 04:59:54 MDT 2022
| Date         : Thu Jan  5 10:00:00 2023
| Command      : report_utilization -file utilization.rpt
| Design       : hwmoe_wrapper
| Device       : xczu9eg-ffvb1156-2-e
| Speed File   : -2
| Design State : Routed
---------------------------------------------------------------------------------------------

Utilization Design Information

1. CLB Logic
------------

+----------------------------+--------+-------+------------+-----------+-------+
|          Site Type         |  Used  | Fixed | Prohibited | Available | Util% |
+----------------------------+--------+-------+------------+-----------+-------+
| CLB LUTs                   | 101234 |     0 |          0 |    274080 | 36.94 |
|   LUT as Logic             |  95000 |     0 |          0 |    274080 | 34.66 |
|   LUT as Memory            |   6234 |     0 |          0 |    144000 |  4.33 |
|     LUT as Shift Register  |   2000 |     0 |            |           |       |
| CLB Registers              | 142857 |     0 |          0 |    548160 | 26.06 |
| CARRY8                     |   4000 |     0 |          0 |     34260 | 11.68 |
+----------------------------+--------+-------+------------+-----------+-------+

3. BLOCKRAM
-----------

+-------------------+-------+-------+------------+-----------+-------+
|     Site Type     |  Used | Fixed | Prohibited | Available | Util% |
+-------------------+-------+-------+------------+-----------+-------+
| Block RAM Tile    | 261.5 |     0 |          0 |       912 | 28.67 |
|   RAMB36/FIFO*    |   250 |     0 |          0 |       912 | 27.41 |
|   RAMB18          |    23 |     0 |          0 |      1824 |  1.26 |
| URAM              |     0 |     0 |          0 |         0 |  0.00 |
+-------------------+-------+-------+------------+-----------+-------+

4. ARITHMETIC
-------------

+----------------+------+-------+------------+-----------+-------+
|    Site Type   | Used | Fixed | Prohibited | Available | Util% |
+----------------+------+-------+------------+-----------+-------+
| DSPs           |  800 |     0 |          0 |      2520 | 31.75 |
|   DSP48E2 only |  800 |       |            |           |       |
+----------------+------+-------+------------+-----------+-------+
"""
# A part of the 7 series after synthesis, in the form without "Prohibited".
SEVEN = """\
| Tool Version : Vivado v.2020.1 (lin64) Build 2902540
| Device       : 7z020clg400-1
| Design State : Synthesized
+-------------------------+-------+-------+-----------+-------+
|        Site Type        |  Used | Fixed | Available | Util% |
+-------------------------+-------+-------+-----------+-------+
| Slice LUTs*             | 25358 |     0 |     53200 | 47.67 |
| Slice Registers         | 30000 |     0 |    106400 | 28.20 |
| Block RAM Tile          |    58 |     0 |       140 | 41.43 |
| DSPs                    |   180 |     0 |       220 | 81.82 |
+-------------------------+-------+-------+-----------+-------+
* Warning! The Final LUT count, after physical optimizations, is typically lower.
"""
COLUMNS = (
    "    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)"
    "  THS Failing Endpoints  THS Total Endpoints     WPWS(ns)     TPWS(ns)  TPWS Failing Endpoints"
    "  TPWS Total Endpoints  \n"
    "    -------      -------  ---------------------  -------------------      -------      -------"
    "  ---------------------  -------------------     --------     --------  ----------------------"
    "  --------------------  \n"
)
TIMING = """\
| Tool Version : Vivado v.2022.2 (lin64) Build 3671981
| Device       : xczu9eg-ffvb1156
| Design State : Routed
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

{columns}     {wns}      -13.146                     57                  973        0.082        0.000                      0                  973        {wpws}        0.000                       0                   570  


{verdict}


| Clock Summary
Clock     Waveform(ns)         Period(ns)      Frequency(MHz)
-----     ------------         ----------      --------------
clk_pl_0  {{0.000 1.667}}        3.333           300.000         
"""  # noqa: E501, W291
NOT_MET = "Timing constraints are not met."
MET = "All user specified timing constraints are met."
CSYNTH = """\
<?xml version="1.0"?>
<profile>
  <ReportVersion><Version>2023.2</Version></ReportVersion>
  <UserAssignments>
    <Part>xczu9eg-ffvb1156-2-e</Part><TopModelName>hwmoe_top</TopModelName>
    <TargetClockPeriod>3.33</TargetClockPeriod><ClockUncertainty>0.90</ClockUncertainty>
  </UserAssignments>
  <PerformanceEstimates>
    <SummaryOfTimingAnalysis><EstimatedClockPeriod>2.433</EstimatedClockPeriod></SummaryOfTimingAnalysis>
    <SummaryOfOverallLatency>
      <Best-caseLatency>100</Best-caseLatency><Worst-caseLatency>undef</Worst-caseLatency>
    </SummaryOfOverallLatency>
  </PerformanceEstimates>
  <AreaEstimates>
    <Resources><BRAM_18K>101</BRAM_18K><DSP>700</DSP><FF>90000</FF><LUT>80000</LUT><URAM>0</URAM></Resources>
    <AvailableResources><BRAM_18K>1824</BRAM_18K><DSP>2520</DSP><FF>548160</FF><LUT>274080</LUT><URAM>0</URAM></AvailableResources>
  </AreaEstimates>
</profile>
"""


def timing(wns: str = "-0.333", verdict: str = NOT_MET, wpws: str = "2.225") -> str:
    return TIMING.format(columns=COLUMNS, wns=wns, verdict=verdict, wpws=wpws)


def test_utilization() -> None:
    found = parse_utilization(ULTRASCALE)
    assert found["used"] == {"lut": 101234, "ff": 142857, "bram36": 261.5, "uram": 0, "dsp": 800}
    assert found["available"] == {
        "lut": 274080, "ff": 548160, "bram36": 912, "uram": 0, "dsp": 2520,
    }  # fmt: skip
    assert found["header"]["device"] == "xczu9eg-ffvb1156-2-e"
    assert found["header"]["design_state"] == "Routed"
    assert found["header"]["tool_version"].startswith("Vivado v.2022.2")


def test_utilization_of_the_7_series() -> None:
    found = parse_utilization(SEVEN)
    assert found["used"] == {"lut": 25358, "ff": 30000, "bram36": 58, "dsp": 180}
    assert found["available"]["dsp"] == 220


def test_timing() -> None:
    found = parse_timing(timing())
    assert (found["wns_ns"], found["tns_ns"], found["whs_ns"]) == (-0.333, -13.146, 0.082)
    assert found["wpws_ns"] == 2.225
    assert found["met"] is False
    assert found["clocks"] == {"clk_pl_0": 300.0}
    met = parse_timing(timing("0.1", MET, "NA"))
    assert met["met"] is True
    assert met["wpws_ns"] is None


def test_csynth() -> None:
    found = parse_csynth(CSYNTH)
    assert found["used"] == {"bram36": 50.5, "dsp": 700, "ff": 90000, "lut": 80000, "uram": 0}
    assert (found["target_ns"], found["estimated_ns"]) == (3.33, 2.433)
    assert (found["latency_best"], found["latency_worst"]) == (100, None)
    assert (found["version"], found["top"]) == ("2023.2", "hwmoe_top")


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (parse_utilization, timing(), "no row of LUTs"),
        (parse_timing, ULTRASCALE, "no WNS"),
        (parse_timing, timing(verdict=""), "does not say"),
        (parse_timing, timing().replace("-13.146", ""), "11 values for 12 columns"),
        (parse_csynth, "<profile>", "not XML"),
        (parse_csynth, "<profile/>", "no AreaEstimates/Resources"),
    ],
)
def test_what_is_no_report(parse: Callable[[str], object], text: str, says: str) -> None:
    with pytest.raises(HwmoeError, match=says):
        parse(text)


def test_comparison(copied: Callable[[str], Path], project: Callable[[str], Project]) -> None:
    folder, made = copied("zcu102"), project("zcu102")
    assert comparison(made, folder)["reports"] == {}
    places = {
        "build/vivado/utilization.rpt": ULTRASCALE,
        "build/vivado/timing.rpt": timing(),
        "build/hls/hls/syn/report/csynth.xml": CSYNTH,
    }
    for name, text in places.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    total = {"lut_sites": 1, "ff": 2, "dsp": 3, "bram36": 4.5, "uram": 0}
    resources = folder / "resources.json"
    resources.write_text(json.dumps({"digest": made.digest, "total": total}))
    found = comparison(made, folder)
    assert found["reports"]["utilization"]["used"]["dsp"] == 800
    assert found["predicted"]["yosys"] == {"lut": 1, "ff": 2, "dsp": 3, "bram36": 4.5, "uram": 0}
    assert found["predicted"]["formula"]["dsp"] > 0
    assert found["clock"] == {
        "asked_mhz": 300.0, "wns_ns": -0.333, "met": False, "possible_mhz": 272.8,
    }  # fmt: skip
    resources.write_text(json.dumps({"digest": "of other sources", "total": total}))
    assert "yosys" not in comparison(made, folder)["predicted"]
    (folder / "build/vivado/timing.rpt").write_text("cut off")
    with pytest.raises(HwmoeError, match=r"timing\.rpt: not a report"):
        comparison(made, folder)


@pytest.mark.parametrize(
    ("line", "means"),
    [
        (
            "ERROR: [Common 17-345] A valid license was not found for feature 'Synthesis' and/or"
            " device 'xczu9eg'.",
            "no licence for this part",
        ),
        (
            "ERROR: [Board 49-71] The board_part definition was not found for xilinx.com:zcu102",
            "files of this board are not installed",
        ),
        (
            "ERROR: [DRC UTLZ-1] Resource utilization: LUT as Logic over-utilized in Top Level"
            " Design (This design requires more LUT as Logic cells than are available",
            "does not fit",
        ),
        ("hwmoe: error: timing is not met: WNS -0.5 ns at 300 MHz", "too fast for this machine"),
        ("ERROR: [Coretcl 2-106] Specified part could not be found.", "family of this part"),
        ("./runme.sh: line 41: No space left on device", "disk is full"),
    ],
)
def test_failures_are_explained(line: str, means: str) -> None:
    text = explain(f"INFO: [x 1-1] fine\n{line}\nERROR: [Vivado 12-1] more\n")
    assert text.startswith(f"  {line}\n")
    assert means in text


def test_unknown_failure_shows_the_first_error() -> None:
    assert explain("a\nERROR: [Synth 8-1] odd\nERROR: two\n") == "  ERROR: [Synth 8-1] odd"
    assert explain("nothing") == ""
    assert len(known_failures()) >= 10
