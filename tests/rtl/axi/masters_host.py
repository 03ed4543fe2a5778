"""What stands around the AXI masters in masters_bench."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import axi_faults
import cocotb
from axi_memory import Options, ReadMemory, WriteMemory
from axi_models import Command, Commands, Pin, Pulses, Sink, Source, noise
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

FAST = Options(latency=(150, 150), stall=0.0)
READERS = 3
LIMIT = 60_000


def random_commands(random: Random, count: int, beat: int) -> list[Command]:
    """1 to 600 beats, mostly few; most begin near the end of 4 KiB, some above 4 GiB."""
    commands = []
    for _ in range(count):
        length = random.choice([1, 2, 24, random.randint(1, 64), random.randint(1, 600)])
        page = random.randrange(1 << 20) << 12 | random.choice([0, 1 << 40])
        back = random.choice([0, random.randrange(1, 40), random.randrange(4096 // beat)])
        commands.append((page + 4096 - back * beat, length))
    return commands


def beats(commands: list[Command], beat: int) -> list[int]:
    """The content of memory that the commands name."""
    return [noise(a + i * beat, 8 * beat) for a, n in commands for i in range(n)]


class Bench:
    """The bench after reset, nobody asks for anything."""

    def __init__(self, dut: Any, seed: int):
        self.dut, self.random = dut, Random(seed)
        self.shared: dict[str, list[int]] = {}

    async def reset(self) -> None:
        for handle in self.dut:
            if handle._name.endswith(("valid", "ready", "halt")) and not _is_output(handle._name):
                handle.value = 0
        self.dut.fault.value = axi_faults.active
        self.dut.rst_n.value = 0
        for _ in range(4):
            await FallingEdge(self.dut.clk)
        self.dut.rst_n.value = 1
        await FallingEdge(self.dut.clk)

    def pins(self, prefix: str) -> dict[str, Pin]:
        names = [h._name for h in self.dut if h._name.startswith(prefix)]
        return {name[len(prefix) :]: Pin(self.dut[name]) for name in names}

    def slice(self, index: int) -> dict[str, Pin]:
        """The pins of reader `index` behind the multiplexer, but for its port."""
        pins = {}
        for name in ("c_valid", "c_ready", "c_addr", "c_len", "s_valid", "s_ready", "s_data"):
            handle = self.dut[f"m_{name}"]
            bits = len(handle) // READERS
            shared = self.shared.setdefault(name, [0])
            pins[name] = Pin(handle, shared, bits * index, bits)
        return pins

    def reader(self, commands: list[Command], options: Options, stall: float) -> tuple[Any, ...]:
        """Commands, sink and memory of the lone reader."""
        pins, random = self.pins("r_"), self.random
        memory = ReadMemory(pins, 128, options, random)
        return Commands(pins, commands, random, stall), Sink(pins, random, stall), memory

    def readers(
        self, commands: list[list[Command]], options: Options, stall: float
    ) -> tuple[list[Commands], list[Sink], ReadMemory]:
        """Commands and sinks of the readers behind the multiplexer, and their memory."""
        memory = ReadMemory(self.pins("m_"), 64, options, self.random)
        pins = [self.slice(i) for i in range(READERS)]
        asks = [Commands(p, c, self.random, stall) for p, c in zip(pins, commands, strict=True)]
        return asks, [Sink(p, self.random, stall) for p in pins], memory

    def writer(
        self, commands: list[Command], data: list[int], options: Options, stall: float
    ) -> tuple[Any, ...]:
        """Commands, source, memory and pulses of `done` of the writer."""
        pins, random = self.pins("w_"), self.random
        memory = WriteMemory(pins, 64, options, random)
        source = Source(pins, data, random, stall)
        return Commands(pins, commands, random, stall), source, memory, Pulses(pins["done"])


def _is_output(name: str) -> bool:
    plain = name.partition("_")[2]
    return plain in (
        *("c_ready", "s_valid" if name[0] != "w" else "s_ready"),
        *("arvalid", "rready", "awvalid", "wvalid", "bready"),
    )


async def start(dut: Any, seed: int) -> Bench:
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    bench = Bench(dut, seed)
    await bench.reset()
    return bench


def enough(sink: Sink, count: int) -> Callable[[], bool]:
    return lambda: len(sink.taken) >= count


def rate(stamps: list[int]) -> float:
    return (len(stamps) - 1) / (stamps[-1] - stamps[0])
