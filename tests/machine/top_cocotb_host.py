"""The host of the machine in top_cocotb.sv and its memories: models of cocotbext-axi.

Regions of memory lie at random pages of a space of 2**64 bytes; anything else is answered with an
error. A port reaches no regions but those it is for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.utils import get_sim_time
from cocotbext.axi import (
    AddressSpace,
    AxiLiteBus,
    AxiLiteMaster,
    AxiReadBus,
    AxiResp,
    AxiSlaveRead,
    AxiSlaveWrite,
    AxiWriteBus,
    MemoryRegion,
)
from top_cocotb_sim import JOB_VARIABLE

from hwmoe.codegen.rtl_axi import LEAST_ENGINES
from hwmoe.sim import machine_registers as registers
from hwmoe.sim.machine_library import ENGINES

W_PORTS = 2
NS = 10  # a clock cycle
LIMIT = 150_000 * NS  # of a test
BEFORE = 0x55  # in the results
GMEM = "m_axi_gmem"
GMEM_READ = ("program", "params", "images")
STATUS = registers.status_registers()
POINTERS = registers.pointers(W_PORTS)
JOB = json.loads(Path(os.environ[JOB_VARIABLE]).read_text())
"""What test_top_cocotb has computed of this run, see there."""

fault = 0  # the planted fault that is active

with np.load(Path(os.environ[JOB_VARIABLE]).with_name("memory.npz")) as _parts:
    PARTS = {name: _parts[name].tobytes() for name in _parts.files}


class Region(MemoryRegion):  # type: ignore[misc]
    """Memory in which one byte may be broken."""

    def __init__(self, data: bytes) -> None:
        super().__init__(len(data), bytearray(data))
        self.broken: int | None = None

    async def _read(self, address: int, length: int, **kwargs: Any) -> Any:
        self._check(address, length)
        return await super()._read(address, length, **kwargs)

    async def _write(self, address: int, data: bytes, **kwargs: Any) -> None:
        self._check(address, len(data))
        await super()._write(address, data, **kwargs)

    def _check(self, address: int, length: int) -> None:
        if self.broken is not None and address <= self.broken < address + length:
            raise ValueError("broken")


@dataclass
class Outcome:
    """What is to be read after a run. `spent`: cycles from before ap_start to the interrupt."""

    spent: int
    results: bytes
    status: dict[str, int]
    clipped: list[int]

    @property
    def error(self) -> tuple[int, int]:
        return self.status["error_code"], self.status["error_step"]

    def check(self) -> None:
        """All that does not depend on time, and what must hold of cycles."""
        assert self.error == (0, 0)
        assert self.results == bytes.fromhex(JOB["results"])
        sites: dict[str, int] = {}
        for site, count in zip(JOB["sites"], self.clipped, strict=True):
            sites[site] = sites.get(site, 0) + count
        assert {site: count for site, count in sites.items() if count} == JOB["clipped"]
        assert self.status["images_done"] == JOB["images"]
        assert (self.status["format_version"], self.status["digest"]) == tuple(JOB["identity"])
        cycles = self.status["cycles_low"]
        assert self.status["cycles_high"] == 0
        assert cycles < self.spent
        for engine, name in enumerate(ENGINES[:LEAST_ENGINES]):
            steps = zip(self.clipped, JOB["engines"], strict=True)
            mine = [count for count, its in steps if its == engine]
            assert self.status[f"{name}_completed"] == JOB["rounds"] * len(mine), name
            assert self.status[f"{name}_clipped"] == sum(mine), name
            spent = [self.status[f"{name}_{what}"] for what in ("running", "waiting", "held")]
            assert 0 < sum(spent) <= cycles, name
            assert spent[0], name


class Bench:
    """The machine after a reset, in a memory of its own. See `make`."""

    def __init__(self, dut: Any, seed: int) -> None:
        self.dut, self.random = dut, Random(seed)
        self.regions = {name: Region(data) for name, data in PARTS.items()}
        self.address = {name: self.nowhere() for name in PARTS}
        clock = {"clock": dut.ap_clk, "reset": dut.ap_rst_n, "reset_active_level": False}
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi_control"), **clock)
        ports = {GMEM: GMEM_READ} | {f"m_axi_w{p}": (f"weights_{p}",) for p in range(W_PORTS)}
        self.readers = {
            port: AxiSlaveRead(
                AxiReadBus.from_prefix(dut, port), target=self.space(*names), **clock
            )
            for port, names in ports.items()
        }
        bus = AxiWriteBus.from_prefix(dut, GMEM)
        self.writer = AxiSlaveWrite(bus, target=self.space("results"), **clock)

    def nowhere(self) -> int:
        """A page at which there is nothing: it would be a rare chance."""
        return self.random.randrange(1 << 52) << 12

    def space(self, *names: str) -> Any:
        space = AddressSpace(2**64)
        for name in names:
            space.register_region(self.regions[name], self.address[name])
        return space

    def pause(self, share: float, weights: float) -> None:
        """Hold up every channel at random, by about this share of cycles; those that bring weights
        by a share of their own."""
        w, r = self.host.write_if, self.host.read_if
        channels = [w.aw_channel, w.w_channel, w.b_channel, r.ar_channel, r.r_channel]
        channels += [self.writer.aw_channel, self.writer.w_channel, self.writer.b_channel]
        channels += [reader.ar_channel for reader in self.readers.values()]
        shares = dict.fromkeys(channels, share)
        for port, reader in self.readers.items():
            shares[reader.r_channel] = share if port == GMEM else weights
        for channel, own in shares.items():
            channel.set_pause_generator(_spells(Random(self.random.random()), own))

    async def write(self, address: int, value: int) -> None:
        await self.host.write_dword(address, value)

    async def read(self, address: int) -> int:
        return int(await self.host.read_dword(address))

    async def start(self, pointers: Mapping[str, int] | None = None, images: int = -1) -> float:
        """Arguments and ap_start; `pointers` instead of the right ones. Old results are lost."""
        self.regions["results"][:] = bytes([BEFORE]) * len(self.regions["results"])
        for name, address in (self.address | dict(pointers or {})).items():
            await self.host.write_qword(POINTERS[name], address)
        await self.write(registers.n_images(W_PORTS), JOB["images"] if images < 0 else images)
        begin = get_sim_time("ns")
        await self.write(registers.CONTROL, registers.START)
        return begin

    async def run(self, pointers: Mapping[str, int] | None = None) -> Outcome:
        """All images, from ap_start to the interrupt."""
        await self.write(registers.GLOBAL_INTERRUPT, 1)
        await self.write(registers.INTERRUPT_ENABLE, 1)
        begin = await self.start(pointers)
        await self.interrupt()
        spent = round((get_sim_time("ns") - begin) / NS)
        assert self.dut.open.value == 0, "bursts are under way after the end"
        await self.write(registers.INTERRUPT_STATUS, 1)
        assert await self.read(registers.CONTROL) == 0b1110
        assert self.dut.interrupt.value == 0
        status = {name: await self.read(at) for name, at in STATUS.items()}
        clipped = await self.host.read_dwords(registers.step_clipped(0), len(JOB["sites"]))
        return Outcome(spent, self.results, status, clipped)

    @property
    def results(self) -> bytes:
        return bytes(self.regions["results"])

    async def interrupt(self) -> None:
        if self.dut.interrupt.value == 0:
            await RisingEdge(self.dut.interrupt)

    async def watch(self) -> None:
        """Fails the test when a rule is broken."""
        await self.dut.breach.value_change
        raise AssertionError(f"a rule is broken: {self.dut.breach.value}, see top_cocotb.sv")


async def make(dut: Any, seed: int) -> Bench:
    """The machine after a reset, with its memories."""
    dut.fault.value = fault
    dut.ap_rst_n.value = 0
    Clock(dut.ap_clk, NS, "ns").start()
    await ClockCycles(dut.ap_clk, 5)
    bench = Bench(dut, seed)  # only now: before, its ports are in no state
    await ClockCycles(dut.ap_clk, 5)
    dut.ap_rst_n.value = 1
    await ClockCycles(dut.ap_clk, 2)
    cocotb.start_soon(bench.watch())
    return bench


def answer(channel: Any, response: AxiResp) -> None:
    """Let a channel of answers give `response` for SLVERR, the only error of the models."""
    send = channel.send

    async def change(beat: Any) -> None:
        for field in ("rresp", "bresp"):
            if getattr(beat, field, None) == AxiResp.SLVERR:
                setattr(beat, field, response)
        await send(beat)

    channel.send = change


def _spells(random: Random, share: float) -> Iterator[bool]:
    """Open and paused for 1 to 8 cycles each."""
    while True:
        paused = random.random() < share
        for _ in range(random.randint(1, 8)):
            yield paused
