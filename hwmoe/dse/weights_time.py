"""Weights on their way: read ahead in bursts as the buffer has room, used tile by tile."""

from __future__ import annotations

from collections import deque

from hwmoe.dse.clock import Clock, Happening
from hwmoe.dse.memory_time import BURST, DEPTH, OffChip, Transfer

REGISTERS = 4  # beats behind the buffer's memory


class Weights:
    """The stream of weights. Commands are asked for in order; beats are numbered from 0."""

    def __init__(self, memory: OffChip, client: int, clock: Clock) -> None:
        self.memory, self.client, self.clock = memory, client, clock
        self.asked = Happening(clock)
        self._wanted: deque[list[int]] = deque()  # commands: next address, beats left
        self._bursts: deque[tuple[int, int, Transfer]] = deque()  # first beat, the one behind
        self._asked = self._used = 0

    def ask(self, address: int, beats: int) -> None:
        """Read so many beats from an address, itself in beats."""
        self._wanted.append([address, beats])
        self._pump()

    def use(self, beats: int) -> None:
        """The kernel has taken so many beats."""
        self._used += beats
        self._pump()

    def known(self, beats: int) -> bool:
        """Whether all of the next so many beats are asked for."""
        return self._used + beats <= self._asked

    def here(self, beats: int) -> float:
        """When the last of the next so many beats comes to the kernel."""
        last = self._used + beats
        while self._bursts[0][1] < last:
            self._bursts.popleft()
        first, _, burst = self._bursts[0]
        return burst.at(last - first)

    def _pump(self) -> None:
        """Ask for the bursts that the buffer has room for: blocks of BURST beats by address."""
        before = self._asked
        while self._wanted:
            address, left = self._wanted[0]
            size = min(left, BURST - address % BURST)
            if self._asked + size > self._used + DEPTH + REGISTERS:
                break
            burst = self.memory.weights(self.client, size, self.clock.time)
            self._bursts.append((self._asked, self._asked + size, burst))
            self._asked += size
            self._wanted[0] = [address + size, left - size]
            if left == size:
                self._wanted.popleft()
        if self._asked > before:
            self.asked.now()
