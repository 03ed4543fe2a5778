"""Progress on standard error: bars on a terminal, a line a stage elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed


class Bars:
    """A context whose `update(what, done, total)` is a `Progress` callable."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._live = console.is_terminal
        columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn())
        self._bars = Progress(*columns, Elapsed(), console=console)
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}

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
        now = time.perf_counter()
        if what not in self._started:
            self._started[what] = now
        if done == total:
            seconds = now - self._started.pop(what)
            sys.stderr.write(f"{what}: {total} in {seconds:.1f} s\n")
            sys.stderr.flush()
