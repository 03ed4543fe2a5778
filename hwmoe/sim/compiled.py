"""Long runs: a module verilated into a shared library with its test bench in C++.

The same cases, stalls, checks and cycle numbers as hwmoe.sim.cocotb_streams, a hundred and more
times faster. Each run starts from a new model, so nothing is left of the run before.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwmoe.errors import HwmoeError
from hwmoe.sim.compiled_build import LIBRARY, Ports, build, digest
from hwmoe.sim.divergence import SimulationFault
from hwmoe.sim.library import load_library, put_in_place, require_little_endian
from hwmoe.sim.streams import (
    ByteArray,
    StampArray,
    StreamCase,
    StreamResult,
    fault_error,
    stall_schedule,
    timeout_error,
)
from hwmoe.sim.verilator import check_sources

Progress = Callable[[int, Mapping[str, int]], None]  # cycle, beats done of each port

_FIRST_CHUNK = 500  # cycles; then as many as take about _CHUNK_SECONDS
_CHUNK_SECONDS = 0.2
_RUNNING, _FINISHED, _BREACH, _BROKEN = range(4)


class _Stream(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("beats", ctypes.c_int64),
        ("stamps", ctypes.c_void_p),
        ("schedule", ctypes.c_void_p),
        ("spells", ctypes.c_int64),
        ("done", ctypes.c_int64),
    )


class _Report(ctypes.Structure):
    _fields_ = (
        ("cycle", ctypes.c_int64),
        ("code", ctypes.c_int32),
        ("port", ctypes.c_int32),
        ("message", ctypes.c_char * 512),
    )


@dataclass
class _Buffers:
    """Arrays the library reads and fills, by port; they must outlive the run."""

    data: dict[str, ByteArray]
    stamps: dict[str, StampArray]
    schedules: dict[str, StampArray]
    streams: ctypes.Array[_Stream]

    def done(self) -> dict[str, int]:
        return {port: int(self.streams[i].done) for i, port in enumerate(self.data)}


class CompiledKernel:
    """Module `top` of `sources` as compiled code; built once for each content of the sources.

    `inputs`, `outputs`: bytes a beat of every stream. Files a source includes or reads by
    $readmemh are not part of the cache key. HwmoeError if it does not build or ports differ.
    """

    def __init__(
        self,
        top: str,
        sources: Sequence[Path],
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
        build_dir: Path,
        *,
        optimize: str = "-O3",
        build_seconds: float = 3600.0,
    ) -> None:
        require_little_endian()
        check_sources(sources)
        self.top = top
        self.ports = Ports(dict(inputs), dict(outputs))
        key = digest(top, sources, self.ports, optimize)
        folder = build_dir.resolve() / f"{top}-{key}"
        if not (folder / LIBRARY).is_file():
            put_in_place(
                folder,
                LIBRARY,
                lambda work: build(work, top, sources, self.ports, optimize, build_seconds),
            )
        self.library = _load(folder / LIBRARY)

    def run(
        self,
        case: StreamCase,
        stall: float = 0.0,
        seed: int = 0,
        timeout_cycles: int = 1_000_000_000,
        progress: Progress | None = None,
    ) -> StreamResult:
        """Run one case from reset. HwmoeError on a breach of AXI4-Stream or a deadlock.

        `progress` is called about five times a second. Ctrl-C works between chunks of cycles.
        """
        self._check(case)
        buffers = self._buffers(case, stall, seed)
        report = _Report()
        started = time.perf_counter()
        handle = self.library.stream_open(buffers.streams, ctypes.byref(report))
        if not handle:
            raise HwmoeError(f"case '{case.name}': {report.message.decode(errors='replace')}")
        try:
            cycles = self._loop(handle, case, buffers, report, timeout_cycles, progress)
        finally:
            self.library.stream_close(handle)
        return StreamResult(
            outputs={port: buffers.data[port] for port in case.outputs},
            stamps={port: buffers.stamps[port] for port in case.expected()},
            cycles=cycles,
            seconds=time.perf_counter() - started,
        )

    def _loop(
        self,
        handle: int,
        case: StreamCase,
        buffers: _Buffers,
        report: _Report,
        timeout_cycles: int,
        progress: Progress | None,
    ) -> int:
        """Cycles to the last transfer. Runs in chunks, so that Python can take Ctrl-C between."""
        cycle, chunk = 0, _FIRST_CHUNK
        expected = sum(case.expected().values())
        while True:
            started = time.perf_counter()
            complete = sum(buffers.done().values()) == expected  # only watching for surplus beats
            limit = cycle + chunk if complete else min(cycle + chunk, timeout_cycles)
            status = self.library.stream_run(handle, limit, ctypes.byref(report))
            cycle, done = int(report.cycle), buffers.done()
            if status == _FINISHED:
                return cycle
            if status == _BREACH:
                raise fault_error(case, report.code, self.ports.names()[report.port], cycle, done)
            if status == _BROKEN:
                text = report.message.decode(errors="replace")
                where = f"case '{case.name}': the module ended in cycle {cycle}"
                raise SimulationFault(f"{where}: {text}")
            if cycle >= timeout_cycles and sum(done.values()) != expected:
                raise timeout_error(case, timeout_cycles, done)
            if progress is not None:
                progress(cycle, done)
            elapsed = max(time.perf_counter() - started, 1e-6)
            chunk = max(100, int(chunk * min(10.0, _CHUNK_SECONDS / elapsed)))

    def _check(self, case: StreamCase) -> None:
        for port, data in case.inputs.items():
            if self.ports.inputs.get(port) != data.shape[1]:
                raise HwmoeError(
                    f"case '{case.name}' gives {port} {data.shape[1]} bytes a beat; inputs of"
                    f" {self.top} are {self.ports.inputs}"
                )
        if unknown := sorted(set(case.outputs) - set(self.ports.outputs)):
            raise HwmoeError(f"case '{case.name}': {self.top} has no output {', '.join(unknown)}")

    def _buffers(self, case: StreamCase, stall: float, seed: int) -> _Buffers:
        data: dict[str, ByteArray] = {}
        for port, width in self.ports.inputs.items():
            given = case.inputs.get(port, np.zeros((0, width), np.uint8))
            data[port] = np.ascontiguousarray(given)
        for port, width in self.ports.outputs.items():
            data[port] = np.zeros((case.outputs.get(port, 0), width), np.uint8)
        stamps = {port: np.zeros(len(beats), np.int64) for port, beats in data.items()}
        schedules = {port: stall_schedule(port, stall, seed) for port in data}
        streams = (_Stream * len(data))()
        for stream, port in zip(streams, data, strict=True):
            stream.data, stream.beats = data[port].ctypes.data, len(data[port])
            stream.stamps = stamps[port].ctypes.data
            stream.schedule, stream.spells = schedules[port].ctypes.data, len(schedules[port])
        return _Buffers(data, stamps, schedules, streams)


def _load(path: Path) -> ctypes.CDLL:
    library = load_library(path)
    library.stream_open.restype = ctypes.c_void_p
    library.stream_open.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.stream_run.restype = ctypes.c_int
    library.stream_run.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    library.stream_close.restype = None
    library.stream_close.argtypes = [ctypes.c_void_p]
    return library
