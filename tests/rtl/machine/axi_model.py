"""AXI4 memory and an AXI4-Lite host for `pin_bench`, at random pace, with protocol checks."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pin_bench import Pins

OKAY, SLAVE_ERROR = 0, 2
_CONSTANT = {"burst": 1, "cache": 3, "prot": 0}


@dataclass
class Store:
    """Bytes off chip, all zero at first; `bad`: pages that answer with an error."""

    pages: dict[int, bytearray] = field(default_factory=dict)
    bad: set[int] = field(default_factory=set)

    def write(self, address: int, data: bytes) -> None:
        for offset, value in enumerate(data):
            page, at = divmod(address + offset, 4096)
            self.pages.setdefault(page, bytearray(4096))[at] = value

    def read(self, address: int, size: int) -> bytes:
        page, at = divmod(address, 4096)
        if at + size > 4096:
            return self.read(address, 4096 - at) + self.read((page + 1) << 12, size - 4096 + at)
        return bytes(self.pages.setdefault(page, bytearray(4096))[at : at + size])

    def answer(self, address: int) -> int:
        return SLAVE_ERROR if address >> 12 in self.bad else OKAY


@dataclass
class ReadPort:
    """A memory behind the read channels of `port`; a beat is `size` bytes."""

    pins: Pins
    port: str
    store: Store
    size: int
    rng: random.Random
    pace: float
    bursts: deque[list[int]] = field(default_factory=deque)  # next address, beats left
    offered: bool = False
    beats: int = 0

    def drive(self) -> None:
        pins, p = self.pins, self.port
        pins[f"{p}_arready"] = self.rng.random() < self.pace
        self.offered = self.offered or (bool(self.bursts) and self.rng.random() < self.pace)
        pins[f"{p}_rvalid"] = self.offered
        if self.offered:
            address, left = self.bursts[0]
            pins[f"{p}_rdata"] = int.from_bytes(self.store.read(address, self.size), "little")
            pins[f"{p}_rlast"] = left == 1
            pins[f"{p}_rresp"] = self.store.answer(address)

    def sample(self) -> None:
        pins, p = self.pins, self.port
        if self.offered and pins[f"{p}_rready"]:
            self.offered = False
            self.beats += 1
            burst = self.bursts[0]
            burst[0], burst[1] = burst[0] + self.size, burst[1] - 1
            if not burst[1]:
                self.bursts.popleft()
        if pins[f"{p}_arvalid"] and pins[f"{p}_arready"]:
            self.bursts.append(list(address_beat(pins, f"{p}_ar", self.size)))


@dataclass
class WritePort:
    """A memory behind the write channels of `port`."""

    pins: Pins
    port: str
    store: Store
    size: int
    rng: random.Random
    pace: float
    bursts: deque[list[int]] = field(default_factory=deque)
    beats: deque[tuple[int, int, int]] = field(default_factory=deque)  # data, strobes, last
    answers: deque[int] = field(default_factory=deque)
    answering: bool = False

    def drive(self) -> None:
        pins, p = self.pins, self.port
        pins[f"{p}_awready"] = self.rng.random() < self.pace
        pins[f"{p}_wready"] = self.rng.random() < self.pace
        self.answering = self.answering or (bool(self.answers) and self.rng.random() < self.pace)
        pins[f"{p}_bvalid"] = self.answering
        pins[f"{p}_bresp"] = self.answers[0] if self.answering else 0

    def sample(self) -> None:
        pins, p = self.pins, self.port
        if self.answering and pins[f"{p}_bready"]:
            self.answers.popleft()
            self.answering = False
        if pins[f"{p}_awvalid"] and pins[f"{p}_awready"]:
            self.bursts.append(list(address_beat(pins, f"{p}_aw", self.size)))
        if pins[f"{p}_wvalid"] and pins[f"{p}_wready"]:
            names = ("wdata", "wstrb", "wlast")
            data, strobes, last = (pins[f"{p}_{name}"] for name in names)
            self.beats.append((data, strobes, last))
        while self.bursts and self.beats:
            burst, (data, strobes, last) = self.bursts[0], self.beats.popleft()
            address = burst[0]
            for i, value in enumerate(data.to_bytes(self.size, "little")):
                if strobes >> i & 1:
                    self.store.write(address + i, bytes([value]))
            burst[0], burst[1] = address + self.size, burst[1] - 1
            assert last == (burst[1] == 0), f"{p}: wlast"
            if last:
                self.bursts.popleft()
                self.answers.append(self.store.answer(address))


def address_beat(pins: Pins, channel: str, size: int) -> tuple[int, int]:
    """First address and beats of a burst that is being taken."""
    address, beats = pins[f"{channel}addr"], pins[f"{channel}len"] + 1
    assert 1 << pins[f"{channel}size"] == size, f"{channel}size"
    assert address % size == 0, f"{channel}addr {address:x}"
    assert address >> 12 == (address + beats * size - 1) >> 12, f"{channel} crosses 4 KiB"
    for name, value in _CONSTANT.items():
        assert pins[f"{channel}{name}"] == value, f"{channel}{name}"
    return address, beats


@dataclass
class Host:
    """Reads and writes registers; `cycle` runs everything else for one cycle."""

    pins: Pins
    cycle: Callable[[], None]
    port: str = "s_axi_control"

    def write(self, address: int, value: int) -> None:
        pins, p = self.pins, self.port
        pins[f"{p}_awaddr"], pins[f"{p}_wdata"], pins[f"{p}_wstrb"] = address, value, 15
        todo = {"aw", "w"}
        pins[f"{p}_bready"] = 1
        for _ in range(100):
            for channel in ("aw", "w"):
                pins[f"{p}_{channel}valid"] = channel in todo
            taken = {channel for channel in todo if pins[f"{p}_{channel}ready"]}
            answered = pins[f"{p}_bvalid"]
            self.cycle()
            todo -= taken
            if answered:
                return
        raise AssertionError(f"write to {address:x} is not answered")

    def write64(self, address: int, value: int) -> None:
        self.write(address, value & 0xFFFFFFFF)
        self.write(address + 4, value >> 32)

    def read(self, address: int) -> int:
        pins, p = self.pins, self.port
        pins[f"{p}_araddr"], pins[f"{p}_arvalid"], pins[f"{p}_rready"] = address, 1, 1
        for _ in range(100):
            taken, answered = pins[f"{p}_arready"], pins[f"{p}_rvalid"]
            value = pins[f"{p}_rdata"]
            self.cycle()
            if taken:
                pins[f"{p}_arvalid"] = 0
            if answered:
                return value
        raise AssertionError(f"read of {address:x} is not answered")
