"""Memories behind AXI masters, which they check by the rules. Cycles are as in axi_models."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from axi_models import Held, Pin, noise

OKAY, SLVERR = 0, 2


@dataclass
class Burst:
    address: int
    beats: int
    due: int
    done: int = 0
    resp: int = OKAY


@dataclass
class Options:
    """Of a memory. `latency`: cycles, smallest and largest. `errors`: addresses of beats."""

    latency: tuple[int, int] = (1, 40)
    stall: float = 0.3
    outstanding: int = 32
    errors: Sequence[int] = field(default_factory=tuple)


class Channel:
    """An address channel, by the rules."""

    def __init__(
        self, pins: dict[str, Pin], kind: str, bits: int, options: Options, random: Random
    ):
        self.pins, self.kind, self.bytes, self.options = pins, kind, bits // 8, options
        self.random = random
        self.bursts: deque[Burst] = deque()
        self.accepted: list[Burst] = []
        self.held = Held(kind)
        self.ready = 0
        self.due = 0

    def stalled(self) -> bool:
        return self.random.random() < self.options.stall

    def pin(self, name: str) -> int:
        return self.pins[self.kind + name].get()

    def waiting(self) -> int:
        return len(self.bursts)

    def drive_address(self) -> None:
        self.ready = int(self.waiting() < self.options.outstanding and not self.stalled())
        self.pins[self.kind + "ready"].set(self.ready)

    def sample_address(self, cycle: int) -> None:
        valid = self.pin("valid")
        self.held.check(valid, self.ready, lambda: (self.pin("addr"), self.pin("len")))
        if not (valid and self.ready):
            return
        address, beats = self.pin("addr"), self.pin("len") + 1
        assert self.pin("burst") == 1, "not INCR"
        assert 1 << self.pin("size") == self.bytes, "not the width of the port"
        assert (self.pin("cache"), self.pin("prot")) == (3, 0)
        assert address % self.bytes == 0, "not at the start of a beat"
        last = address + beats * self.bytes - 1
        assert address // 4096 == last // 4096, f"burst crosses 4 KiB: {address:#x}, {beats} beats"
        self.due = max(self.due, cycle + self.random.randint(*self.options.latency))
        burst = Burst(address, beats, self.due)
        self.bursts.append(burst)
        self.accepted.append(burst)


class ReadMemory(Channel):
    """Answers reads with `noise`; beats of errors with anything."""

    def __init__(self, pins: dict[str, Pin], bits: int, options: Options, random: Random):
        super().__init__(pins, "ar", bits, options, random)
        self.valid = 0
        self.cycle = 0

    def drive(self) -> None:
        self.drive_address()
        if not self.valid and self.bursts and self.cycle >= self.bursts[0].due:
            self.valid = int(not self.stalled())
            burst = self.bursts[0]
            address = burst.address + burst.done * self.bytes
            bad = address in self.options.errors
            self.pins["rdata"].set(0 if bad else noise(address, 8 * self.bytes))
            self.pins["rresp"].set(SLVERR if bad else OKAY)
            self.pins["rlast"].set(int(burst.done == burst.beats - 1))
        self.pins["rvalid"].set(self.valid)

    def sample(self, cycle: int) -> None:
        self.cycle = cycle
        if self.valid and self.pins["rready"].get():
            self.valid = 0
            self.bursts[0].done += 1
            if self.bursts[0].done == self.bursts[0].beats:
                self.bursts.popleft()
        self.sample_address(cycle)


class WriteMemory(Channel):
    """Keeps what is written in `words`: address of a beat -> data."""

    def __init__(self, pins: dict[str, Pin], bits: int, options: Options, random: Random):
        super().__init__(pins, "aw", bits, options, random)
        self.words: dict[int, int] = {}
        self.empty = 0  # beats without a strobe
        self.answers: deque[Burst] = deque()
        self.answered: list[int] = []  # cycles
        self.held_data = Held("w")
        self.open = self.valid = self.cycle = 0
        self.stamps: list[int] = []

    def waiting(self) -> int:
        return len(self.bursts) + len(self.answers)

    def drive(self) -> None:
        self.drive_address()
        self.open = int(bool(self.bursts) and not self.stalled())
        self.pins["wready"].set(self.open)
        if not self.valid and self.answers and self.cycle >= self.answers[0].due:
            self.valid = int(not self.stalled())
            self.pins["bresp"].set(self.answers[0].resp)
        self.pins["bvalid"].set(self.valid)

    def sample(self, cycle: int) -> None:
        self.cycle = cycle
        if self.valid and self.pins["bready"].get():
            self.valid = 0
            self.answers.popleft()
            self.answered.append(cycle)
        self.sample_data(cycle)
        self.sample_address(cycle)

    def sample_data(self, cycle: int) -> None:
        names = ("wdata", "wstrb", "wlast")
        valid = self.pins["wvalid"].get()
        self.held_data.check(valid, self.open, lambda: tuple(self.pins[n].get() for n in names))
        if not (valid and self.open):
            return
        data, strobes, last = (self.pins[name].get() for name in names)
        burst = self.bursts[0]
        address = burst.address + burst.done * self.bytes
        assert last == (burst.done == burst.beats - 1), "wlast"
        assert strobes in (0, (1 << self.bytes) - 1)
        if strobes:
            self.words[address] = data
        else:
            self.empty += 1
        if address in self.options.errors:
            burst.resp = SLVERR
        self.stamps.append(cycle)
        burst.done += 1
        if burst.done == burst.beats:
            burst.due = cycle + self.random.randint(*self.options.latency)
            self.answers.append(self.bursts.popleft())
