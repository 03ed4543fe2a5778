"""Objects of Verilator's run time are compiled once; everything else each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hwmoe.sim import objcache

COMPILER = """\
#!/bin/sh
echo "$@" >> "$LOG"
for last; do :; done
[ "$4" = "-o" ] && cp "$last" "$5"
exit $CODE
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("include/verilated.cpp", "mine.cpp", "bin/verilator"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    compiler = tmp_path / "bin" / "fake-g++"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    (tmp_path / "kept").mkdir()
    return tmp_path


def compile_(place: Path, source: str, flag: str = "-O1", code: int = 0) -> int:
    """Exit code; the object is `out.o`."""
    (place / "out.o").unlink(missing_ok=True)
    command = ["fake-g++", flag, "-MMD", "-c", "-o", "out.o", str(place / source)]
    env = os.environ | {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "VERILATOR_ROOT": str(place),
        "LOG": str(place / "log"),
        "CODE": str(code),
    }
    script = [sys.executable, "-I", "-S", objcache.__file__, str(place / "kept")]
    return subprocess.run([*script, *command], cwd=place, env=env, timeout=60).returncode


def calls(place: Path) -> int:
    return len((place / "log").read_text().splitlines())


def test_the_run_time_is_compiled_once(place: Path) -> None:
    for _ in range(3):
        assert compile_(place, "include/verilated.cpp") == 0
        assert (place / "out.o").read_text() == "include/verilated.cpp"
    assert calls(place) == 1


@pytest.mark.parametrize("change", ["flag", "source", "compiler"])
def test_a_change_compiles_again(place: Path, change: str) -> None:
    compile_(place, "include/verilated.cpp")
    if change != "flag":
        file = "include/verilated.cpp" if change == "source" else "bin/fake-g++"
        (place / file).write_text((place / file).read_text() + "\n# another\n")
    compile_(place, "include/verilated.cpp", "-O2" if change == "flag" else "-O1")
    assert calls(place) == 2


def test_other_sources_are_compiled_each_time(place: Path) -> None:
    for expected in (1, 2):
        assert compile_(place, "mine.cpp") == 0
        assert calls(place) == expected
    assert list((place / "kept").iterdir()) == []


def test_what_failed_is_not_kept(place: Path) -> None:
    assert compile_(place, "include/verilated.cpp", code=3) == 3
    assert list((place / "kept").iterdir()) == []
    assert compile_(place, "include/verilated.cpp") == 0
    assert calls(place) == 2
