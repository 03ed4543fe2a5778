"""One simulated machine from reset on: its registers, its clock, and what was recorded."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType

import numpy as np
import numpy.typing as npt

from hwmoe.plan.program import MEMORIES
from hwmoe.sim.divergence import SimulationFault
from hwmoe.sim.machine_build import read_channels
from hwmoe.sim.machine_image import MemoryImage, MemoryRegion
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
    POLLED_DONE,
    REGION,
    WANTED,
    WINDOW,
    Report,
    Setup,
    Totals,
)
from hwmoe.sim.machine_options import Captured, CaptureRequest, MachineOptions, Progress, config
from hwmoe.sim.streams import ByteArray

__all__ = ["CaptureRequest", "Captured", "MachineOptions", "MachineSession", "Progress", "Records"]

Records = npt.NDArray[np.void]

_FIRST_CHUNK = 20_000  # cycles; then as many as take about _CHUNK_SECONDS
_CHUNK_SECONDS = 0.2
_ACCESS_CYCLES = 10_000  # a register that has not answered by then is dead


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
        setup = Setup(config(options), memory.data.ctypes.data, memory.base)
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

    def map(self, region: MemoryRegion) -> None:
        """More memory that exists. `ValueError` if it overlaps another or leaves the image."""
        self.memory = replace(self.memory, regions=(*self.memory.regions, region))
        record = np.array([(region.address, region.size, region.writable)], REGION)
        self._library.machine_map(self._handle, record.ctypes.data)

    def unmap(self, region: MemoryRegion) -> None:
        """It does not exist any more; its bytes stay in `memory`."""
        rest = tuple(other for other in self.memory.regions if other != region)
        self.memory = replace(self.memory, regions=rest)
        self._library.machine_unmap(self._handle, region.address)

    def reset(self) -> None:
        """Pull ap_rst_n low for a while. The machine, bursts under way and all records are gone."""
        self._status(self._library.machine_reset(self._handle, ctypes.byref(self._report)))

    @property
    def finished(self) -> bool:
        """Whether the last wait came to its end, even if it was interrupted just then."""
        return bool(self._report.status == FINISHED)

    def save(self) -> dict[str, ByteArray]:
        """All of the simulation now: `state`, and as `memory.NAME` the bytes of writable regions.

        It can be restored in another process, by a session of the same library, memory (as it was
        when this one was opened), options and captures. hwmoe.sim.checkpoint keeps it in a file.
        """
        self.cycle = int(self._report.cycle)  # not yet so if a run was interrupted just then
        state = np.zeros(self._library.machine_save(self._handle), np.uint8)
        self._library.machine_saved(self._handle, state.ctypes.data)
        regions = self.memory.regions
        written = {f"memory.{r.name}": self.memory[r.name].copy() for r in regions if r.writable}
        return {"state": state, **written}

    def restore(self, saved: Mapping[str, ByteArray]) -> None:
        """Go on from there. SimulationFault if the state is not one of this library's."""
        for region in self.memory.regions:
            if region.writable:
                self.memory[region.name][:] = saved[f"memory.{region.name}"]
        state = np.ascontiguousarray(saved["state"])
        report = ctypes.byref(self._report)
        at, size = state.ctypes.data, state.size
        self._status(self._library.machine_restore(self._handle, at, size, report))

    def clear(self) -> None:
        """Forget events, windows, captures and counts up to now."""
        self._library.machine_clear(self._handle)

    def wait(
        self,
        cycle_limit: int,
        seconds: float,
        progress: Callable[[Progress], None] | None = None,
        poll_cycles: int | None = None,
        since: int | None = None,
    ) -> str | None:
        """Run until `interrupt` is high or, with `poll_cycles`, until control reads ap_done.

        None if that came; otherwise why not. `progress` is called about five times a second.
        `since`: the cycle from which cycles count, by default this one.
        """
        until = INTERRUPT if poll_cycles is None else POLLED_DONE
        first = self.cycle if since is None else since
        started, chunk = time.perf_counter(), _FIRST_CHUNK
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
