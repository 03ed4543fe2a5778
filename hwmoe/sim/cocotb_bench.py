"""The cocotb test of `run_cocotb`: runs inside the simulator, one loop for all streams.

Beats are written on the falling clock edge and signals sampled in the read-only phase of the same
time step, when paths from inputs to outputs have settled: these are the values of just before
the next rising edge in every simulator. (Under Verilator, a coroutine that wakes at RisingEdge
already sees what registers hold after the edge.) hwmoe/templates/sim/stream_harness.cpp.j2 does
the same in C++: change both together.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from hwmoe.sim.cocotb_streams import JOB_VARIABLE, cases_file, result_files
from hwmoe.sim.streams import DRAIN_CYCLES, POISON, RESET_CYCLES, ByteArray


class Breach(Exception):
    """A rule of AXI4-Stream was broken: (code of streams.FAULTS, port)."""

    def __init__(self, code: int, port: str):
        super().__init__(code, port)
        self.code, self.port = code, port


class Gate:
    """Walks a stall schedule; see `streams.stall_schedule`."""

    def __init__(self, schedule: list[int]):
        self.schedule = schedule
        self.index = 0
        self.left = schedule[0] if schedule else 0

    def is_open(self) -> bool:
        """True in an open spell. Moves to the next spell when one is used up."""
        if not self.schedule:
            return True
        while self.left == 0:
            self.index = (self.index + 1) % len(self.schedule)
            self.left = self.schedule[self.index]
        return self.index % 2 == 0

    def spend(self) -> None:
        """Use up one unit of the present spell."""
        self.left -= 1


class Port:
    """What inputs and outputs share: the three signals, the beats done and their cycles."""

    def __init__(self, dut: Any, name: str, beats: int, schedule: list[int]):
        self.name = name
        self.valid, self.ready, self.data = (
            dut[f"{name}_{suffix}"] for suffix in ("TVALID", "TREADY", "TDATA")
        )
        self.bytes = len(self.data) // 8
        self.beats = beats
        self.done = 0
        self.stamps: list[int] = []
        self.gate = Gate(schedule)

    def bit(self, handle: Any) -> bool:
        """Value of a one-bit signal; X is a breach."""
        try:
            return bool(handle.value)
        except ValueError:
            raise Breach(5, self.name) from None


class Input(Port):
    """Drives TVALID and TDATA."""

    def load(self, data: ByteArray) -> None:
        """Take the beats, uint8 [beats, bytes]."""
        self.values = [int.from_bytes(row.tobytes(), "little") for row in data]
        self.poison = int.from_bytes(bytes([POISON]) * self.bytes, "little")
        self.pending = False
        self.shown = False
        self.idle()

    def idle(self) -> None:
        self.valid.value = 0
        self.data.value = self.poison
        self.shown = False

    def drive(self, cycle: int) -> None:
        """Before an edge: offer the next beat, keep the present one, or leave a gap."""
        if self.pending:
            return
        if cycle > 0 and self.done < self.beats:
            go = self.gate.is_open()
            self.gate.spend()
            if go:
                self.data.value = self.values[self.done]
                if not self.shown:
                    self.valid.value = 1
                self.pending = self.shown = True
                return
        if self.shown:
            self.idle()

    def sample(self, cycle: int) -> None:
        """Just before the edge: was the offered beat taken?"""
        if self.pending and self.bit(self.ready):
            self.stamps.append(cycle)
            self.done += 1
            self.pending = False


class Output(Port):
    """Drives TREADY and checks the rules for a transmitter."""

    def load(self) -> None:
        """Start a case."""
        self.taken: list[int] = []
        self.waiting: str | None = None
        self.accept = False
        self.ready.value = 0

    def drive(self) -> None:
        """Before an edge: TREADY as the schedule says."""
        accept = self.gate.is_open()
        if accept != self.accept:
            self.ready.value = int(accept)
            self.accept = accept

    def sample(self, cycle: int) -> None:
        """Just before the edge: take the beat, or note that it waits."""
        valid = self.bit(self.valid)
        if self.accept or valid:
            self.gate.spend()
        if not valid:
            if self.waiting is not None:
                raise Breach(1, self.name)
            return
        bits = str(self.data.value)
        if self.waiting is not None and bits != self.waiting:
            raise Breach(2, self.name)
        if self.done == self.beats:
            raise Breach(3, self.name)
        if self.accept:
            try:
                self.taken.append(int(bits, 2))
            except ValueError:
                raise Breach(5, self.name) from None
            self.stamps.append(cycle)
            self.done += 1
            self.waiting = None
        else:
            self.waiting = bits

    def beats_taken(self) -> ByteArray:
        """The beats, uint8 [beats, bytes]."""
        joined = b"".join(beat.to_bytes(self.bytes, "little") for beat in self.taken)
        return np.frombuffer(joined, np.uint8).reshape(-1, self.bytes)


class Run:
    """One case: ports, cycle counter, and the loop."""

    def __init__(self, dut: Any, job: dict[str, Any], arrays: Any, index: int):
        expected = job["expected"][index]
        schedule = {name: arrays[f"stall/{name}"].tolist() for name in job_ports(job)}
        self.dut, self.timeout, self.cycle = dut, job["timeout_cycles"], -RESET_CYCLES
        self.inputs = [
            Input(dut, name, expected.get(name, 0), schedule[name]) for name in job["inputs"]
        ]
        self.outputs = [
            Output(dut, name, expected.get(name, 0), schedule[name]) for name in job["outputs"]
        ]
        for port in self.inputs:
            key = f"{index}/{port.name}"
            port.load(arrays[key] if key in arrays else np.zeros((0, port.bytes), np.uint8))
        for out in self.outputs:
            out.load()

    def done(self) -> dict[str, int]:
        return {port.name: port.done for port in [*self.inputs, *self.outputs]}

    async def reset(self) -> None:
        """Reset edges -RESET_CYCLES .. -1; TVALID must be low before the last."""
        self.dut.ap_rst_n.value = 0
        clock = FallingEdge(self.dut.ap_clk)
        for self.cycle in range(-RESET_CYCLES, 0):
            if self.cycle == -1:
                await ReadOnly()
                for out in self.outputs:
                    if out.bit(out.valid):
                        raise Breach(4, out.name)
            await clock
        self.dut.ap_rst_n.value = 1

    async def loop(self) -> bool:
        """All cycles from 0 on, entered on the falling edge before it. False on time-out."""
        inputs, outputs = self.inputs, self.outputs
        ports: list[Port] = [*inputs, *outputs]
        settled, clock = ReadOnly(), FallingEdge(self.dut.ap_clk)
        last, drain, missing = -1, DRAIN_CYCLES, sum(port.beats for port in ports)
        before = 0
        self.cycle = 0
        while True:
            for port in inputs:
                port.drive(self.cycle)
            for out in outputs:
                out.drive()
            await settled
            for port in inputs:
                port.sample(self.cycle)
            for out in outputs:
                out.sample(self.cycle)
            total = sum([port.done for port in ports])
            if total != before:
                last, before = self.cycle, total
            if total == missing:
                drain -= 1
            self.cycle += 1
            if drain == 0:
                self.cycle = last + 1
                return True
            if total != missing and self.cycle >= self.timeout:
                return False
            await clock


def job_ports(job: dict[str, Any]) -> list[str]:
    """All ports of the job, inputs first."""
    return [*job["inputs"], *job["outputs"]]


def check_ports(dut: Any, job: dict[str, Any]) -> str | None:
    """What does not fit between the module and the cases, or None."""
    present = {handle._name: handle for handle in dut}
    suffixes = ("TDATA", "TVALID", "TREADY")
    wanted = {f"{name}_{suffix}" for name in job_ports(job) for suffix in suffixes}
    wanted |= {"ap_clk", "ap_rst_n"}
    if lacking := sorted(wanted - present.keys()):
        return f"module {job['top']} has no port {', '.join(lacking)}"
    streams = {name for name in present if name.endswith("_TVALID")}
    if extra := sorted(streams - wanted):
        return f"no case names these streams of module {job['top']}: {', '.join(extra)}"
    for name, width in job["inputs"].items():
        if len(present[f"{name}_TDATA"]) != 8 * width:
            bits = len(present[f"{name}_TDATA"])
            return f"{name}_TDATA of {job['top']} has {bits} bits, the cases give {8 * width}"
    return None


async def run_cases(dut: Any, job: dict[str, Any], arrays: Any, beats: dict[str, Any]) -> Any:
    """Run every case; fills `beats` and returns the summary for the parent."""
    if problem := check_ports(dut, job):
        return {"problem": problem}
    summary: dict[str, Any] = {"cycles": [], "seconds": []}
    dut.ap_clk.value = 0
    Clock(dut.ap_clk, 10, unit="step").start()
    await FallingEdge(dut.ap_clk)
    for index in range(len(job["expected"])):
        started = time.perf_counter()
        run = Run(dut, job, arrays, index)
        failure = {"case": index, "code": 0}
        try:
            await run.reset()
            finished = await run.loop()
        except Breach as breach:
            finished = False
            failure |= {"code": breach.code, "port": breach.port}  # type: ignore[dict-item]
        if not finished:
            return {"failure": failure | {"cycle": run.cycle, "done": run.done()}}
        summary["cycles"].append(run.cycle)
        summary["seconds"].append(time.perf_counter() - started)
        for port in [*run.inputs, *run.outputs]:
            beats[f"{index}/stamps/{port.name}"] = np.array(port.stamps, np.int64)
        for out in run.outputs:
            beats[f"{index}/data/{out.name}"] = out.beats_taken()
        await FallingEdge(dut.ap_clk)
    return summary


@cocotb.test()
async def streams(dut: Any) -> None:
    """Entry point: the job is named by the environment, the result goes to files."""
    job_file = Path(os.environ[JOB_VARIABLE])
    job = json.loads(job_file.read_text())
    beats: dict[str, Any] = {}
    with np.load(cases_file(job_file)) as stored:
        arrays = dict(stored)
    summary = await run_cases(dut, job, arrays, beats)
    summary_file, beats_file = result_files(job_file)
    np.savez(beats_file, **beats)
    partial = summary_file.with_suffix(".part")
    partial.write_text(json.dumps(summary))
    os.replace(partial, summary_file)  # last and whole: its presence says that all is there
