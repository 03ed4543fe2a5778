"""Runs that another process can do too, and how they are compared."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hwmoe.sim import machine_registers as registers
from hwmoe.sim.checkpoint import Checkpoints
from hwmoe.sim.machine import Machine, MachineRun
from hwmoe.sim.machine_build import OPTIMIZE
from hwmoe.sim.machine_image import MemoryImage
from hwmoe.sim.machine_session import CaptureRequest, MachineOptions, MachineSession

HARD = MachineOptions(6.0, latency=40, stall=0.3, seed=11, power_up_seed=3)
TASKS = (0, 1, 1)


@cache
def machine_of(sources: tuple[Path, ...], port_bits: int, w_ports: int, folder: Path) -> Machine:
    return Machine(sources, port_bits, w_ports, folder, optimize=OPTIMIZE)


@dataclass(frozen=True)
class Job:
    """All that another process needs to do a run."""

    folder: Path
    sources: tuple[Path, ...]
    port_bits: int
    w_ports: int
    memory: MemoryImage
    captures: tuple[CaptureRequest, ...]
    steps: int
    options: MachineOptions = HARD
    poll_cycles: int | None = None

    @property
    def machine(self) -> Machine:
        return machine_of(self.sources, self.port_bits, self.w_ports, self.folder)

    def run(self, checkpoints: Checkpoints | None = None, **more: Any) -> MachineRun:
        return self.machine.run(
            self.memory,
            len(TASKS),
            self.options,
            captures=self.captures,
            steps=self.steps,
            poll_cycles=self.poll_cycles,
            checkpoints=checkpoints,
            **more,
        )


def resume(job: Job, folder: Path) -> tuple[int, MachineRun]:
    """In a process of its own."""
    return os.getpid(), job.run(Checkpoints(folder, resume=True))


def opened(job: Job) -> MachineSession:
    return job.machine.open(job.memory.copy(), job.options, job.captures)


def begun(job: Job) -> MachineSession:
    """A run by hand."""
    session = opened(job)
    job.machine._start(session, len(TASKS), (), interrupt=True)
    session.write(registers.CONTROL, registers.START)
    return session


def everything(session: MachineSession) -> bytes:
    return b"".join(part.tobytes() for part in session.save().values())


def assert_same(one: Any, other: Any, where: str) -> None:
    """Bit for bit, all of it but the wall time."""
    if is_dataclass(one):
        for field in fields(one):
            if field.name != "seconds":
                name = f"{where}.{field.name}"
                assert_same(getattr(one, field.name), getattr(other, field.name), name)
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_same(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    elif isinstance(one, np.ndarray | np.void):
        assert one.dtype == other.dtype, where
        assert one.tobytes() == other.tobytes(), where
    else:
        assert one == other, where
