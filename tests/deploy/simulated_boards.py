"""The simulated board with packages and faults for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from hwmoe.codegen.folder import read_json, write_json
from hwmoe.deploy.simulated_device import SimulatedDevice
from hwmoe.flow.rtl import AS_THE_BOARD, board_memory
from hwmoe.plan.board import load_board
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.program import Program, Step
from hwmoe.sim.machine import Machine
from hwmoe.sim.machine_session import MachineOptions
from hwmoe.sim.streams import ByteArray

ZCU102 = load_board("zcu102")
MEMORY = board_memory(ZCU102, AS_THE_BOARD)


class ForgetfulDevice(SimulatedDevice):
    """Syncs of one buffer, by its number in the order of allocation, copy nothing."""

    def __init__(self, machine: Machine, forgotten: int) -> None:
        super().__init__(ZCU102, machine, MEMORY)
        self.forgotten = f"buffer {forgotten}"

    def flush(self, bo: Any, offset: int, pointer: int, size: int) -> None:
        if bo.name != self.forgotten:
            super().flush(bo, offset, pointer, size)

    def invalidate(self, bo: Any, offset: int, pointer: int, size: int) -> None:
        if bo.name != self.forgotten:
            super().invalidate(bo, offset, pointer, size)


def zcu102(machine: Machine, options: MachineOptions = MEMORY, tag: str = "") -> SimulatedDevice:
    return SimulatedDevice(ZCU102, machine, options, tag or None)


def on_board(accelerator: Any, name: str) -> ByteArray:
    """What the board's memory holds of a buffer of the driver; a view."""
    buffer = accelerator._buffers[name]
    image = buffer.device.default_memory.image
    start = buffer.device_address - image.base
    return image.data[start : start + buffer.nbytes]


def number_of(program: Program, name: str, kind: str) -> int:
    """The first step of that name and kind."""
    return next(i for i, step in enumerate(program.steps) if (step.name, step.kind) == (name, kind))


def change_field(rows: ByteArray, program: Program, number: int, field: str, value: int) -> None:
    """In an encoded program: of the step with that number."""
    isa = instruction_set()
    step: Step = program.steps[number]
    fields = dict(step.fields)
    assert fields[field] != value
    row = np.array(isa.encode(step.kind, fields | {field: value}), np.int64).astype("<i4")
    rows[isa.bytes * (number + 1) : isa.bytes * (number + 2)] = row.view(np.uint8)


def change_weights(weights: ByteArray, program: Program, name: str, words: int = 8) -> None:
    """In the memory of a weight port: the first bytes of a linear step."""
    width = program.accelerator.ports.port_bits // 8
    start = width * program.steps[number_of(program, name, "linear")].fields["weights"]
    weights[start : start + words] ^= 0x5A


def copy_package(package: Path, to: Path, **changes: Any) -> Path:
    """With other entries in its manifest."""
    shutil.copytree(package, to)
    write_json(to / "manifest.json", read_json(to / "manifest.json") | changes)
    return to


def file_of(package: Path, entry: str) -> Path:
    """The file of an entry of the manifest."""
    return package / read_json(package / "manifest.json")[entry]["file"]
