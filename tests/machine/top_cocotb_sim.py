"""Builds the machine in top_cocotb.sv, runs its cocotb tests and says how each went."""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwmoe.process import run_tool
from hwmoe.sim.verilator import COMMON_FLAGS, verilator_env

TOP = "top_cocotb"
JOB_VARIABLE = "TOP_COCOTB_JOB"
HERE = Path(__file__).resolve().parent
SECONDS = 900.0
_FLAGS = (
    *("--x-initial", "unique", "--x-assign", "unique"),
    *("--no-public-flat-rw", "-Wno-fatal", "-Wno-lint"),
)


@dataclass(frozen=True)
class Fault:
    """In file `module`.sv, `right` becomes `wrong`, where FAULT stands for a switch; cocotb test
    `test` finds it when the switch is on."""

    module: str
    right: str
    wrong: str
    test: str


def build(rtl: Mapping[str, str], faults: Sequence[Fault], folder: Path) -> None:
    """`rtl`: file name -> text. Fault n (from 1) is active when the signal `fault` is n."""
    files = dict(rtl)
    for number, fault in enumerate(faults, 1):
        name, switch = f"{fault.module}.sv", f"({TOP}.fault == 8'd{number})"
        assert files[name].count(fault.right) == 1, fault
        files[name] = files[name].replace(fault.right, fault.wrong.replace("FAULT", switch))
    for name, text in files.items():
        (folder / name).write_text(text)
    # Only the pins of the bench are public: with all signals of the design, building takes long.
    (folder / "public.vlt").write_text(
        f'`verilator_config\npublic_flat_rw -module "{TOP}" -var "*"'
    )
    _child("build", folder, check=True)


def run(job: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Test -> what failed, "" if nothing did. `job`, for the bench, becomes a file."""
    (folder / "job.json").write_text(json.dumps(job))
    _child("run", folder, check=False)
    results = ElementTree.parse(folder / "results.xml").getroot()
    found = {}
    for case in results.iter("testcase"):
        failure = case.find("failure")
        found[str(case.get("name"))] = "" if failure is None else str(failure.attrib)
    return found


def _child(step: str, folder: Path, check: bool) -> None:
    env = verilator_env()
    env["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O0 -j1"
    roots = [str(HERE), str(HERE.parents[1]), env.get("PYTHONPATH", "")]
    env["PYTHONPATH"] = os.pathsep.join(filter(None, roots))
    env[JOB_VARIABLE] = str(folder / "job.json")
    env["COCOTB_LOG_LEVEL"] = "WARNING"  # the models' too, which tell of every burst
    for name in ("PYTEST_CURRENT_TEST", "MAKELEVEL", "WAVES", "GUI", "COCOTB_TEST_FILTER"):
        env.pop(name, None)
    cmd = [sys.executable, str(HERE / "top_cocotb_sim.py"), step, str(folder)]
    run_tool(cmd, env, folder, SECONDS, folder / f"{step}.log", check)


def _main(step: str, folder: Path) -> None:
    """In the child: cocotb's runner changes its own environment."""
    from cocotb_tools.runner import get_runner

    runner = get_runner("verilator")
    if step == "build":
        runner.build(
            sources=[folder / "public.vlt", *sorted(folder.glob("*.sv")), HERE / f"{TOP}.sv"],
            hdl_toplevel=TOP,
            build_dir=folder / "verilated",
            build_args=[*COMMON_FLAGS, *_FLAGS],
        )
    else:
        runner.test(
            test_module=f"{TOP}_tests",
            hdl_toplevel=TOP,
            build_dir=folder / "verilated",
            hdl_toplevel_lang="verilog",
            test_dir=folder,
            results_xml=str(folder / "results.xml"),
            plusargs=["+verilator+rand+reset+2", "+verilator+seed+7"],
        )


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
