"""Progress on standard error: bars on a terminal, a line a stage elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.text import Text

MANY = 10_000  # from so many units on, the rate is shown
LINE_SECONDS = 15.0  # between two lines of a stage where there is no terminal


def _rate(done: int, seconds: float) -> str:
    return f"{done / seconds:,.0f}/s" if seconds > 0 else ""


class _Count(ProgressColumn):
    """How much of a stage is done; with many units, how fast."""

    def render(self, task: Task) -> Text:
        done, total = int(task.completed), int(task.total or 0)
        text = f"{done:,}/{total:,}"
        if total >= MANY:
            text += f"  {_rate(done, task.elapsed or 0.0)}"
        return Text(text)


class Bars:
    """A context whose `update(what, done, total)` is a `Progress` callable."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._live = console.is_terminal
        columns = (TextColumn("{task.description:<24}"), BarColumn(), _Count())
        self._bars = Progress(*columns, Elapsed(), console=console)
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._said: dict[str, float] = {}

    def __enter__(self) -> Bars:
        if self._live:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._bars.stop()

    def update(self, what: str, done: int, total: int) -> None:
        """Say that `done` of `total` units of a stage are finished."""
        if not self._live:
            self._line(what, done, total)
            return
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)

    def _line(self, what: str, done: int, total: int) -> None:
        """At the end of a stage, at its beginning if it is announced, and now and then."""
        now = time.perf_counter()
        if done == 0 and what not in self._started:
            self._write(f"{what} ...")
        started = self._started.setdefault(what, now)
        seconds = now - started
        if done == total:
            del self._started[what]
            self._said.pop(what, None)
            self._write(f"{what}: {total:,} in {seconds:.1f} s")
        elif now - self._said.setdefault(what, now) > LINE_SECONDS:
            self._said[what] = now
            rate = f", {_rate(done, seconds)}" if total >= MANY else ""
            self._write(f"{what}: {done:,} of {total:,} after {seconds:.0f} s{rate}")

    def _write(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
