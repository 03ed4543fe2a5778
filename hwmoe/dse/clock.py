"""Processes in time: generators that yield a time, or something that has to happen first."""

from __future__ import annotations

from collections.abc import Generator
from heapq import heappop, heappush


class Happening:
    """What processes wait for. They look again whether they may go on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: list[Process] = []

    def add(self, process: Process) -> None:
        self._waiting.append(process)

    def now(self) -> None:
        """It happens: whoever waits goes on in this cycle."""
        for process in self._waiting:
            self._clock.start(process)
        self._waiting.clear()


Process = Generator["float | Happening", None, None]


class Clock:
    """Runs processes in the order of time, and in one cycle in the order of their wishes."""

    def __init__(self) -> None:
        self.time = 0.0
        self._count = 0
        self._agenda: list[tuple[float, int, Process]] = []

    def start(self, process: Process, time: float = 0.0) -> None:
        """The process goes on at `time`, or now."""
        self._count += 1
        heappush(self._agenda, (max(time, self.time), self._count, process))

    def run(self) -> None:
        """Until nobody has anything to do."""
        agenda = self._agenda
        while agenda:
            self.time, _, process = heappop(agenda)
            try:
                wish = next(process)
            except StopIteration:
                continue
            if isinstance(wish, Happening):
                wish.add(process)
            else:
                self.start(process, wish)
