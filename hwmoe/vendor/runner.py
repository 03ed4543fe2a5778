"""Runs a step: output into its log, phases as they pass, a time-out, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hwmoe.codegen.folder import write_text
from hwmoe.errors import HwmoeError
from hwmoe.process import kill_group, tail
from hwmoe.vendor.explain import explain
from hwmoe.vendor.steps import Step
from hwmoe.vendor.tools import environment_for

Progress = Callable[[str, int, int], None]
LOOK_SECONDS = 0.2
TIMING_NOT_MET = 3
"""Exit code of vivado/run.tcl."""

# What the tools print when a phase begins; ours first.
_PHASES = (
    re.compile(r"^hwmoe: phase (.+)$"),
    re.compile(r"^\[\d+:\d+:\d+\] Run vpl: Step (\w+): Started"),
    re.compile(r"^INFO: \[HLS 200-10\] (Analyzing design file|Starting \w+ ?\w*)"),
)


class TimingNotMet(HwmoeError):
    """The design is routed, but not as fast as the clock: its reports are there."""


def is_done(folder: Path, step: Step, digest: str) -> bool:
    """The step has run to its end from the same sources, and what it made is there."""
    stamp = _stamp(folder, step)
    made = all((folder / name).is_file() for name in step.outputs)
    return made and stamp.is_file() and stamp.read_text(encoding="utf-8") == digest


def run_step(
    folder: Path, step: Step, program: Path, digest: str, seconds: float, progress: Progress
) -> None:
    """HwmoeError, with what the log means, if it fails or takes longer than `seconds`.

    On time-out or Ctrl-C the tool ends with all its children.
    """
    absent = [name for name in step.inputs if not (folder / name).is_file()]
    if absent:
        raise HwmoeError(
            f"{step.name} needs {', '.join(absent)}: run `hwmoe build {folder} --tool hls` first"
        )
    log = folder / step.log
    log.parent.mkdir(parents=True, exist_ok=True)
    where = folder / step.folder
    where.mkdir(parents=True, exist_ok=True)
    _stamp(folder, step).unlink(missing_ok=True)
    command = [str(program), *step.arguments]
    environment = environment_for(program)
    code = _run(command, where, environment, log, seconds, _Phases(step.name, progress))
    text = log.read_text(errors="replace")
    if code is None:
        raise HwmoeError(
            f"{step.name} did not finish within {seconds:g} s and was stopped. Give it more with"
            f" --timeout; what is finished is not done again.\nIts log: {log}\n{tail(text, 5)}"
        )
    if code != 0:
        kind = TimingNotMet if code == TIMING_NOT_MET else HwmoeError
        why = explain(text) or tail(text)
        raise kind(f"{step.name} failed (exit code {code}).\n{why}\nIts log: {log}")
    missing = [name for name in step.outputs if not (folder / name).is_file()]
    if missing:
        raise HwmoeError(
            f"{step.name} ended without an error, but left no {', '.join(missing)}.\n"
            f"Its log: {log}\n{explain(text) or tail(text)}"
        )
    write_text(_stamp(folder, step), digest)


def _stamp(folder: Path, step: Step) -> Path:
    return (folder / step.log).with_suffix(".done")


class _Phases:
    """Tells of phases as they begin and end."""

    def __init__(self, step: str, progress: Progress) -> None:
        self._step, self._progress = step, progress
        self._now = step
        progress(step, 0, 1)

    def line(self, text: str) -> None:
        for pattern in _PHASES:
            found = pattern.match(text)
            if found:
                self.end()
                self._now = f"{self._step}: {found[1]}"
                self._progress(self._now, 0, 1)
                return

    def end(self) -> None:
        self._progress(self._now, 1, 1)


def _run(
    command: list[str],
    cwd: Path,
    environment: dict[str, str],
    log: Path,
    seconds: float,
    phases: _Phases,
) -> int | None:
    """Exit code, None on time-out."""
    end = time.monotonic() + seconds
    with log.open("wb") as sink, log.open(encoding="utf-8", errors="replace") as source:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise HwmoeError(f"{command[0]} cannot be started: {error.strerror}") from error
        lines = _lines(source)
        try:
            while process.poll() is None:
                for line in lines():
                    phases.line(line)
                if time.monotonic() > end:
                    _end(process)
                    return None
                time.sleep(LOOK_SECONDS)
        except BaseException:  # Ctrl-C above all
            _end(process)
            raise
        for line in lines():
            phases.line(line)
        phases.end()
        return process.returncode


def _lines(source: Iterator[str]) -> Callable[[], Iterator[str]]:
    """Whole lines that were written since the last call."""
    held = ""

    def new() -> Iterator[str]:
        nonlocal held
        for part in source:
            held += part
            if held.endswith("\n"):
                yield held.rstrip("\n")
                held = ""

    return new


def _end(process: subprocess.Popen[bytes]) -> None:
    """The group, and children that left it: a run of Vivado is a process that may have."""
    children = descendants(process.pid)
    kill_group(process)
    for child in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Processes below `pid`, as Linux tells them; none elsewhere."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name is in parentheses and may hold blanks; the parent is second after it.
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            below.setdefault(parent, []).append(int(entry.parent.name))
    found: list[int] = []
    front = [pid]
    while front:
        front = [child for parent in front for child in below.get(parent, [])]
        found += front
    return found
