"""Neighbours of AXI masters, a cycle at a time: `drive` before the edge, `sample` just before it.

A stall is the share of cycles in which a channel
holds back, each on its own. Python's side of a cycle: drive all on the falling edge, sample all in
the read-only phase, when paths from inputs to outputs have settled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from cocotb.triggers import FallingEdge, ReadOnly

Command = tuple[int, int]  # address, beats


class Pin:
    """A signal of the bench, or the slice of one."""

    def __init__(self, handle: Any, shared: list[int] | None = None, low: int = 0, bits: int = 0):
        self.handle, self.shared, self.low = handle, shared, low
        self.mask = (1 << bits) - 1
        self.last = -1

    def get(self) -> int:
        value = int(self.handle.value)
        return value if self.shared is None else value >> self.low & self.mask

    def set(self, value: int) -> None:
        if value == self.last:
            return
        self.last = value
        if self.shared is None:
            self.handle.value = value
            return
        kept = self.shared[0] & ~(self.mask << self.low)
        self.shared[0] = kept | value << self.low
        self.handle.value = self.shared[0]


def noise(address: int, bits: int) -> int:
    """The content of memory: differs from beat to beat."""
    return (address // 8 + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC834 % (1 << bits)


class Held:
    """What must not change between valid and ready."""

    def __init__(self, name: str):
        self.name = name
        self.values: tuple[int, ...] | None = None

    def check(self, valid: int, ready: int, read: Callable[[], tuple[int, ...]]) -> None:
        if self.values is not None:
            assert valid, f"{self.name}: valid dropped before ready"
            assert read() == self.values, f"{self.name}: changed while it waited"
        self.values = read() if valid and not ready else None


class Commands:
    """Gives commands."""

    def __init__(self, pins: dict[str, Pin], todo: Iterable[Command], random: Random, stall: float):
        self.pins, self.todo, self.random, self.stall = pins, deque(todo), random, stall
        self.valid = 0

    def drive(self) -> None:
        if not self.valid and self.todo and self.random.random() >= self.stall:
            self.valid = 1
            self.pins["c_addr"].set(self.todo[0][0])
            self.pins["c_len"].set(self.todo[0][1])
        self.pins["c_valid"].set(self.valid)

    def sample(self, cycle: int) -> None:
        if self.valid and self.pins["c_ready"].get():
            self.todo.popleft()
            self.valid = 0


class Source:
    """Gives data."""

    def __init__(self, pins: dict[str, Pin], todo: Iterable[int], random: Random, stall: float):
        self.pins, self.todo, self.random, self.stall = pins, deque(todo), random, stall
        self.valid = 0

    def drive(self) -> None:
        if not self.valid and self.todo and self.random.random() >= self.stall:
            self.valid = 1
            self.pins["s_data"].set(self.todo[0])
        self.pins["s_valid"].set(self.valid)

    def sample(self, cycle: int) -> None:
        if self.valid and self.pins["s_ready"].get():
            self.todo.popleft()
            self.valid = 0


class Sink:
    """Takes data."""

    def __init__(self, pins: dict[str, Pin], random: Random, stall: float):
        self.pins, self.random, self.stall = pins, random, stall
        self.taken: list[int] = []
        self.stamps: list[int] = []
        self.held = Held("s")
        self.ready = 0

    def drive(self) -> None:
        self.ready = int(self.random.random() >= self.stall)
        self.pins["s_ready"].set(self.ready)

    def sample(self, cycle: int) -> None:
        valid = self.pins["s_valid"].get()
        self.held.check(valid, self.ready, lambda: (self.pins["s_data"].get(),))
        if valid and self.ready:
            self.taken.append(self.pins["s_data"].get())
            self.stamps.append(cycle)


class Pulses:
    """Cycles in which a signal was high."""

    def __init__(self, pin: Pin):
        self.pin = pin
        self.cycles: list[int] = []

    def drive(self) -> None:
        pass

    def sample(self, cycle: int) -> None:
        if self.pin.get():
            self.cycles.append(cycle)


async def run(dut: Any, models: Sequence[Any], until: Callable[[], bool], limit: int) -> int:
    """Clock until `until` (asked after every cycle); entered and left on a falling edge."""
    settled, edge = ReadOnly(), FallingEdge(dut.clk)
    for cycle in range(limit):
        for model in models:
            model.drive()
        await settled
        for model in models:
            model.sample(cycle)
        await edge
        if until():
            return cycle
    raise AssertionError(f"not finished after {limit} cycles")
