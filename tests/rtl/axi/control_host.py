"""The host and the inside of the control in control_bench.

All its outputs come from registers: on the falling edge they are what the next rising edge takes.
"""

from __future__ import annotations

from random import Random
from typing import Any

import axi_faults
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from hwmoe.codegen.rtl_axi import register_map

PORTS, STEPS = 2, 100
ENGINES = ("load", "linear", "attention", "vector", "store")
REGISTERS = {register.name: register for register in register_map(PORTS)}
AT = {name: register.offset for name, register in REGISTERS.items()}
START, DONE, IDLE, READY, RESTART = 1, 2, 4, 8, 128
INPUTS = (
    *("awvalid", "wvalid", "bready", "arvalid", "rready", "run_done", "e_valid", "e_code"),
    *("e_step", "e_detail", "ev_state", "ev_done", "ev_done_step", "ev_done_clipped"),
    "image_done",
)
Event = tuple[int, int]  # step, clipped values


class Bench:
    """The control, its host with random delays on every channel, and its inside."""

    def __init__(self, dut: Any, seed: int, stall: float):
        self.dut, self.random, self.stall = dut, Random(seed), stall
        self.edge = FallingEdge(dut.clk)

    async def clock(self, cycles: int = 1) -> None:
        for _ in range(cycles):
            await self.edge

    def opens(self) -> bool:
        return self.random.random() >= self.stall

    async def write(self, address: int, data: int, strobes: int = 15) -> None:
        d = self.dut
        d.awaddr.value, d.wdata.value, d.wstrb.value = address, data, strobes
        todo, shown = {"aw", "w"}, set[str]()
        while todo:
            shown |= {channel for channel in sorted(todo) if self.opens()}
            for channel in todo:
                d[f"{channel}valid"].value = int(channel in shown)
            taken = {channel for channel in shown & todo if d[f"{channel}ready"].value == 1}
            assert d.bvalid.value == 0
            await self.edge
            for channel in taken:
                d[f"{channel}valid"].value = 0
            todo -= taken
        await self.answer("b")
        assert d.bresp.value == 0

    async def read(self, address: int) -> int:
        d = self.dut
        while not self.opens():
            await self.edge
        d.araddr.value, d.arvalid.value = address, 1
        while d.arready.value == 0:
            await self.edge
        await self.edge
        d.arvalid.value = 0
        await self.answer("r")
        assert d.rresp.value == 0
        return self.data

    async def answer(self, channel: str) -> None:
        """Take the answer; it must stay until it is taken."""
        d, held = self.dut, None
        for _ in range(300):
            valid = d[f"{channel}valid"].value == 1
            if valid:
                self.data = int(d.rdata.value)
                assert held in (None, self.data)
                held = self.data
            assert valid or held is None
            taken = self.opens()
            d[f"{channel}ready"].value = int(taken)
            await self.edge
            if valid and taken:
                d[f"{channel}ready"].value = 0
                return
        raise AssertionError("no answer")

    async def get(self, name: str) -> int:
        words = [await self.read(offset) for offset in REGISTERS[name].offsets]
        return sum(word << 32 * i for i, word in enumerate(words))

    async def put(self, name: str, value: int) -> None:
        for i, offset in enumerate(REGISTERS[name].offsets):
            await self.write(offset, value >> 32 * i & 0xFFFFFFFF)

    async def until(self, name: str, value: int = 1, limit: int = 400) -> int:
        for cycle in range(limit):
            if int(self.dut[name].value) == value:
                return cycle
            await self.edge
        raise AssertionError(f"{name} did not become {value}")

    async def pulse(self, name: str) -> None:
        self.dut[name].value = 1
        await self.edge
        self.dut[name].value = 0

    async def emit(self, events: dict[int, Event]) -> None:
        """Instructions of some engines complete in the same cycle."""
        d = self.dut
        d.ev_done.value = sum(1 << e for e in events)
        d.ev_done_step.value = sum(step << 16 * e for e, (step, _) in events.items())
        d.ev_done_clipped.value = sum(n << 32 * e for e, (_, n) in events.items())
        await self.edge
        d.ev_done.value = 0

    async def fail(self, errors: dict[int, tuple[int, int, int]]) -> None:
        """Sources report (code, step, detail) in the same cycle."""
        d = self.dut
        d.e_valid.value = sum(1 << i for i in errors)
        d.e_code.value = sum(error[0] << 8 * i for i, error in errors.items())
        d.e_step.value = sum(error[1] << 16 * i for i, error in errors.items())
        d.e_detail.value = sum(error[2] << 32 * i for i, error in errors.items())
        await self.edge
        d.e_valid.value = 0

    async def begin(self, control: int = START) -> None:
        """Start a run and wait until the inside is told."""
        await self.write(AT["control"], control)
        await self.until("run_start")
        await self.edge

    async def end(self) -> None:
        """The inside has finished; wait for ap_idle."""
        await self.pulse("run_done")
        await self.idle()

    async def idle(self) -> None:
        for _ in range(60):
            control = await self.read(AT["control"])
            self.seen |= control
            if control & IDLE:
                return
        raise AssertionError("not idle")

    seen = 0  # bits of control while waiting


async def make(dut: Any, seed: int, stall: float = 0.3) -> Bench:
    """After reset, with one image."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    bench = Bench(dut, seed, stall)
    for name in INPUTS:
        dut[name].value = 0
    dut.quiet.value = 1
    dut.fault.value = axi_faults.active
    dut.rst_n.value = 0
    await bench.clock(4)
    assert dut.inner_rst_n.value == 0
    dut.rst_n.value = 1
    await bench.clock(2)
    assert dut.inner_rst_n.value == 1
    await bench.put("n_images", 1)
    return bench
