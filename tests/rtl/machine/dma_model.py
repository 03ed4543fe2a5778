"""Both sides of a DMA channel for `pin_bench`: memory that answers commands, at random pace."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from pin_bench import Pins


@dataclass
class Memory:
    """Bytes off chip: regions by their first address."""

    regions: dict[int, bytes]

    def read(self, address: int, size: int) -> bytes:
        for start, data in self.regions.items():
            if start <= address and address + size <= start + len(data):
                return data[address - start : address - start + size]
        raise AssertionError(f"read of {size} bytes at {address:x}: nothing is there")


@dataclass
class ReadChannel:
    """Takes commands c_*, answers on s_* in order. Each side is ready in a share `pace` of cycles.

    Call `drive` before outputs are read, `sample` before the clock edge.
    """

    pins: Pins
    memory: Memory
    port_bits: int
    rng: random.Random
    pace: float = 1.0
    commands: list[tuple[int, int]] = field(default_factory=list)
    beats: deque[int] = field(default_factory=deque)
    offered: bool = False

    def drive(self) -> None:
        self.pins["c_ready"] = self.rng.random() < self.pace
        self.offered = self.offered or (bool(self.beats) and self.rng.random() < self.pace)
        self.pins["s_valid"] = self.offered
        self.pins["s_data"] = self.beats[0] if self.offered else self.rng.getrandbits(64)

    def sample(self) -> None:
        pins, size = self.pins, self.port_bits // 8
        if self.offered and pins["s_ready"]:
            self.beats.popleft()
            self.offered = False
        if pins["c_valid"] and pins["c_ready"]:
            address, length = pins["c_addr"], pins["c_len"]
            assert address % size == 0
            assert length > 0
            self.commands.append((address, length))
            data = self.memory.read(address, length * size)
            parts = (data[i : i + size] for i in range(0, len(data), size))
            self.beats.extend(int.from_bytes(part, "little") for part in parts)
