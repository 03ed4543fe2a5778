"""Builds a bench with cocotb and Verilator, runs its cocotb tests and says how each went."""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from axi_faults import VARIABLE

from hwmoe.codegen.rtl_axi import axi_rtl
from hwmoe.process import run_tool
from hwmoe.sim.verilator import COMMON_FLAGS, verilator_env

HERE = Path(__file__).resolve().parent
SECONDS = 400.0
_JOB = "AXI_SIM_JOB"
_FLAGS = (
    *("--x-initial", "unique", "--x-assign", "unique"),
    *("--no-public-flat-rw", "-Wno-fatal", "-Wno-lint"),
)

# Planted behind a switch: file, right text, wrong text with FAULT for the switch, test that fails.
Fault = tuple[str, str, str, str]


@dataclass(frozen=True)
class Simulation:
    """A bench that is built. `top` is its module and, as `<top>_tests`, its cocotb tests."""

    top: str
    folder: Path
    faults: Sequence[Fault]

    def run(self) -> dict[str, bool]:
        """Whether each test passed, those of faults, as `fault_<number>`, among them."""
        results = self.folder / "results.xml"
        env = _environment(self.folder) | {VARIABLE: json.dumps([f[3] for f in self.faults])}
        self._child("run", env, results)
        cases = ElementTree.parse(results).getroot().iter("testcase")
        return {
            str(case.get("name")): case.find("failure") is None and case.find("error") is None
            for case in cases
        }

    def log(self) -> str:
        """What the last run printed."""
        return (self.folder / "run.log").read_text()

    def _child(self, step: str, env: Mapping[str, str], results: Path) -> None:
        cmd = [sys.executable, str(HERE / "axi_sim.py"), step, str(results)]
        log = self.folder / f"{step}.log"
        run_tool(cmd, env, self.folder, SECONDS, log, check=step == "build")


def write(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Rendered files in `folder`, as a list of sources."""
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def all_names(tests: Sequence[str], faults: Mapping[str, Fault]) -> list[str]:
    """What a run must report: every test, and every fault by its number."""
    return sorted([*tests, *(f"fault_{number}" for number in range(1, len(faults) + 1))])


def build(top: str, folder: Path, faults: Sequence[Fault] = ()) -> Simulation:
    """The bench `top`; with `faults`, number n (from 1) is active when its signal `fault` is n."""
    folder.mkdir(parents=True, exist_ok=True)
    files = axi_rtl()
    for number, (name, right, wrong, _) in enumerate(faults, 1):
        assert files[f"{name}.sv"].count(right) == 1, (name, right)
        switch = f"({top}.fault == 8'd{number})"
        files[f"{name}.sv"] = files[f"{name}.sv"].replace(right, wrong.replace("FAULT", switch))
    write(files, folder)
    # Only the pins of the bench are public: with all signals of the design, building takes long.
    public = folder / "public.vlt"
    public.write_text(f'`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n')
    sources = [public, *(folder / name for name in files), HERE / f"{top}.sv"]
    job = {"top": top, "sources": [str(path) for path in sources]}
    (folder / "job.json").write_text(json.dumps(job))
    simulation = Simulation(top, folder, faults)
    simulation._child("build", _environment(folder), folder / "none")
    return simulation


def _environment(folder: Path) -> dict[str, str]:
    env = verilator_env()
    env["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O0 -j1"
    roots = [str(HERE), str(HERE.parents[2]), env.get("PYTHONPATH", "")]
    env["PYTHONPATH"] = os.pathsep.join(filter(None, roots))
    env[_JOB] = str(folder / "job.json")
    env["COCOTB_LOG_LEVEL"] = "WARNING"
    for name in ("PYTEST_CURRENT_TEST", "MAKELEVEL", "WAVES", "GUI", "COCOTB_TEST_FILTER"):
        env.pop(name, None)
    return env


def _main(step: str, results: str) -> None:
    """In the child: cocotb's runner changes its own environment."""
    from cocotb_tools.runner import get_runner

    folder = Path(os.environ[_JOB]).parent
    job = json.loads((folder / "job.json").read_text())
    runner = get_runner("verilator")
    if step == "build":
        runner.build(
            sources=job["sources"],
            hdl_toplevel=job["top"],
            build_dir=folder / "verilated",
            build_args=[*COMMON_FLAGS, *_FLAGS],
        )
    else:
        runner.test(
            test_module=f"{job['top']}_tests",
            hdl_toplevel=job["top"],
            build_dir=folder / "verilated",
            hdl_toplevel_lang="verilog",
            test_dir=folder,
            results_xml=results,
            plusargs=["+verilator+rand+reset+2", "+verilator+seed+7"],
        )


if __name__ == "__main__":
    _main(*sys.argv[1:])
