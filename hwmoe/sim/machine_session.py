"""One simulated machine from reset on: its registers, its clock, and what was recorded."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from hwmoe.errors import HwmoeError
from hwmoe.plan.program import MEMORIES
from hwmoe.sim.divergence import SimulationFault
from hwmoe.sim.machine_build import read_channels
from hwmoe.sim.machine_image import MemoryImage
from hwmoe.sim.machine_library import (
    ACCESS_ERROR,
    BREACH,
    BROKEN,
    CAPTURE,
    CHANNEL,
    EVENT,
    FINISHED,
    INTERRUPT,
    LIMIT,
    MOST_ERRORS,
    NO_ADDRESS,
    POLLED_DONE,
    REGION,
    WANTED,
    WINDOW,
    Config,
    Report,
    Setup,
    Totals,
)
from hwmoe.sim.streams import ByteArray

Records = npt.NDArray[np.void]

_FIRST_CHUNK = 20_000  # cycles; then as many as take about _CHUNK_SECONDS
_CHUNK_SECONDS = 0.2
_ACCESS_CYCLES = 10_000  # a register that has not answered by then is dead


@dataclass(frozen=True)
class MachineOptions:
    """The board's memory, and how hard the bench is on the machine.

    `bytes_per_cycle`: usable bandwidth of all ports together. `latency`: cycles from a read request
    to its first beat, 0 to `jitter` more at random; `write_latency`: from the last beat to the
    response. `outstanding`: bursts a port accepts ahead. `stall`: probability with which any
    channel of any port, the control port too, holds back in a cycle. `fault_address`: an access
    to this byte gets SLVERR. `capture_delay`: cycles from the completion of a step to its capture.
    `power_up_seed`: registers and RAM at power-up, 0: all zero, otherwise random.
    """

    bytes_per_cycle: float
    latency: int = 150
    jitter: int = 16
    write_latency: int = 150
    outstanding: int = 16
    stall: float = 0.0
    seed: int = 0
    fault_address: int | None = None
    capture_delay: int = 4
    power_up_seed: int = 0

    def __post_init__(self) -> None:
        if not self.bytes_per_cycle > 0 or not 0 <= self.stall < 1 or self.outstanding < 1:
            raise HwmoeError(
                "options of the simulated memory: bytes_per_cycle must be above 0, stall at least"
                f" 0 and below 1, outstanding at least 1: {self}"
            )
        if min(self.latency, self.write_latency) < 1 or min(self.jitter, self.capture_delay) < 0:
            raise HwmoeError(
                "options of the simulated memory: latencies must be at least 1 cycle, jitter and"
                f" capture_delay at least 0: {self}"
            )


@dataclass(frozen=True)
class CaptureRequest:
    """Copy `words` words from `base` of a memory (MEMORIES) each time `step` is complete."""

    step: int
    memory: str
    base: int
    words: int


@dataclass(frozen=True, eq=False)
class Captured:
    """What a memory held: uint8 [words, bytes a word], lane 0 first."""

    request: CaptureRequest
    cycle: int
    data: ByteArray


@dataclass(frozen=True)
class Progress:
    """Where a run is: cycles since it began, wall time, steps begun and completed so far."""

    cycles: int
    seconds: float
    events: int


class MachineSession:
    """A machine that was just reset. It works on `memory` in place. Close it, or use `with`."""

    def __init__(
        self,
        library: ctypes.CDLL,
        w_ports: int,
        memory: MemoryImage,
        options: MachineOptions,
        captures: Sequence[CaptureRequest] = (),
    ) -> None:
        self.memory = memory
        self.w_ports = w_ports
        self.cycle = 0
        self._library = library
        self._requests = tuple(captures)
        self._report = Report()
        regions = np.array([(r.address, r.size, r.writable) for r in memory.regions], REGION)
        wanted = np.array(
            [(c.step, MEMORIES.index(c.memory), c.base, c.words) for c in captures], WANTED
        )
        setup = Setup(_config(options), memory.data.ctypes.data, memory.base)
        setup.regions, setup.region_count = regions.ctypes.data, len(regions)
        setup.wanted, setup.wanted_count = wanted.ctypes.data, len(wanted)
        opened = library.machine_open(ctypes.byref(setup), ctypes.byref(self._report))
        self._open: int | None = opened
        if opened is None:
            raise SimulationFault(f"the machine does not start: {self._message()}")

    def __enter__(self) -> MachineSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it. A second time does nothing."""
        if self._open is not None:
            self._library.machine_close(self._open)
        self._open = None

    def read(self, address: int) -> int:
        """A register, read through s_axi_control while the clock runs."""
        return self._access(False, address, 0)

    def write(self, address: int, value: int) -> None:
        """Write a register."""
        self._access(True, address, value)

    def advance(self, cycles: int) -> None:
        """Run for so many cycles."""
        self._run(self.cycle + cycles, LIMIT, 0)

    def clear(self) -> None:
        """Forget events, windows, captures and counts up to now."""
        self._library.machine_clear(self._handle)

    def wait(
        self,
        cycle_limit: int,
        seconds: float,
        progress: Callable[[Progress], None] | None = None,
        poll_cycles: int | None = None,
    ) -> str | None:
        """Run until `interrupt` is high or, with `poll_cycles`, until control reads ap_done.

        None if that came; otherwise why not. `progress` is called about five times a second.
        """
        until = INTERRUPT if poll_cycles is None else POLLED_DONE
        first, started, chunk = self.cycle, time.perf_counter(), _FIRST_CHUNK
        while True:
            before = time.perf_counter()
            limit = min(self.cycle + chunk, first + cycle_limit)
            if self._run(limit, until, poll_cycles or 0) == FINISHED:
                return None
            now = time.perf_counter()
            if self.cycle - first >= cycle_limit:
                return f"within {cycle_limit} cycles"
            if now - started > seconds:
                return f"within {seconds:g} s, {self.cycle - first} cycles"
            if progress is not None:
                events = self.totals().events
                progress(Progress(self.cycle - first, now - started, events))
            chunk = max(100, int(chunk * min(10.0, _CHUNK_SECONDS / max(now - before, 1e-6))))

    def totals(self) -> Totals:
        """Counts since clear(), and the states of the engines now."""
        totals = Totals()
        self._library.machine_totals(self._handle, ctypes.byref(totals))
        return totals

    def channels(self) -> dict[str, Records]:
        """Name -> record of CHANNEL, since clear()."""
        names = [f"{name} read" for name in read_channels(self.w_ports)] + ["m_axi_gmem write"]
        states = np.zeros(len(names), CHANNEL)
        self._library.machine_channels(self._handle, states.ctypes.data)
        return dict(zip(names, states, strict=True))

    def lists(self) -> tuple[Records, Records, Records]:
        """Events and windows since clear(), bad accesses since reset (the first MOST_ERRORS)."""
        totals = self.totals()
        events = np.zeros(totals.events, EVENT)
        windows = np.zeros(totals.windows, WINDOW)
        errors = np.zeros(min(totals.access_errors, MOST_ERRORS), ACCESS_ERROR)
        arrays = (events, windows, errors)
        self._library.machine_lists(self._handle, *(array.ctypes.data for array in arrays))
        return arrays

    def captures(self) -> list[Captured]:
        """What was captured since clear(), in the order of time."""
        totals = self.totals()
        heads = np.zeros(totals.captures, CAPTURE)
        data = np.zeros(totals.captured_bytes, np.uint8)
        self._library.machine_captures(self._handle, heads.ctypes.data, data.ctypes.data)
        found = []
        for head in heads:
            request = self._requests[head["wanted"]]
            part = data[head["offset"] : head["offset"] + head["bytes"]]
            found.append(Captured(request, int(head["cycle"]), part.reshape(request.words, -1)))
        return found

    @property
    def _handle(self) -> int:
        if self._open is None:
            raise ValueError("the simulation of the machine is closed")
        return self._open

    def _access(self, write: bool, address: int, value: int) -> int:
        data, resp = ctypes.c_uint32(value), ctypes.c_int()
        status = self._library.machine_access(
            self._handle,
            write,
            address,
            ctypes.byref(data),
            ctypes.byref(resp),
            self.cycle + _ACCESS_CYCLES,
            ctypes.byref(self._report),
        )
        what = f"{'write' if write else 'read'} of register 0x{address:x}"
        if self._status(status) != FINISHED:
            raise SimulationFault(f"{what}: no answer in {_ACCESS_CYCLES} cycles")
        if resp.value:
            raise SimulationFault(f"{what}: error response {resp.value}")
        return data.value

    def _run(self, limit: int, until: int, poll: int) -> int:
        report = ctypes.byref(self._report)
        return self._status(self._library.machine_run(self._handle, limit, until, poll, report))

    def _status(self, status: int) -> int:
        self.cycle = int(self._report.cycle)
        if status == BREACH:
            raise SimulationFault(f"the machine breaks a rule of AXI: {self._message()}")
        if status == BROKEN:
            raise SimulationFault(f"the machine ended in cycle {self.cycle}: {self._message()}")
        return status

    def _message(self) -> str:
        message: bytes = self._report.message
        return message.decode(errors="replace")


def _config(options: MachineOptions) -> Config:
    fields = {name: getattr(options, name) for name, _ in Config._fields_}
    if options.fault_address is None:
        fields["fault_address"] = NO_ADDRESS
    return Config(**fields)
