"""Runs a script of the project in tclsh against the stand-ins of tests/vendor/stubs."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

STUBS = Path(__file__).parent / "stubs" / "core.tcl"
TCLSH = shutil.which("tclsh")
needs_tclsh = pytest.mark.skipif(TCLSH is None, reason="tclsh is not installed: apt install tcl")


@dataclass(frozen=True)
class Ran:
    """`code` is 99 if the script uses a command, option or order that there is not."""

    code: int
    text: str

    @property
    def phases(self) -> list[str]:
        mark = "hwmoe: phase "
        return [line.removeprefix(mark) for line in self.text.splitlines() if line.startswith(mark)]


def run_tcl(folder: Path, tool: str, script: str, *arguments: str, **environment: str) -> Ran:
    """`tool`: vivado or hls; `script` below `folder`, run in that folder."""
    assert TCLSH is not None
    done = subprocess.run(
        [TCLSH, str(STUBS), tool, script, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout + done.stderr)


def edit(folder: Path, name: str, old: str, new: str) -> None:
    """Replace the one place where `old` stands."""
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{name} has {text.count(old)} times {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")
