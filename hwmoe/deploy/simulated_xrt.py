"""A stand-in for the module pyxrt: a card whose kernel is the compiled SystemVerilog of hwmoe_top.

It has what `hwmoe_xrt.py` of a package uses, with pyxrt's names and arguments. Memory is that of
the simulated boards: host and card meet in syncs only. A buffer counts in its own bank only.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from hwmoe.codegen.rtl_axi import Register, register_map
from hwmoe.deploy.simulated_memory import SimulatedMemory
from hwmoe.sim.machine import Machine
from hwmoe.sim.machine_options import MachineOptions
from hwmoe.sim.machine_registers import DONE, START
from hwmoe.vendor.kernel import INSTANCE, NAME

MEMORY = (0x40_0000_0000, 256 << 20)  # base and bytes of the card's memory
POLL_CYCLES = 1000


class Direction(enum.Enum):
    XCL_BO_SYNC_BO_TO_DEVICE = 0
    XCL_BO_SYNC_BO_FROM_DEVICE = 1


class State(enum.Enum):
    ERT_CMD_STATE_COMPLETED = 4
    ERT_CMD_STATE_SUBMITTED = 7
    ERT_CMD_STATE_TIMEOUT = 8


class Info(enum.Enum):
    bdf = 0


class SimulatedXrt:
    """One card; stands in `sys.modules` as `pyxrt`. Close it, or use it up with its process.

    banks: argument -> memory bank. registers: whether kernels have `read_register`, as up to XRT
    2.14. SimulationFault if the machine breaks a rule of AXI.
    """

    simulated = True
    xclBOSyncDirection, ert_cmd_state, xrt_info_device = Direction, State, Info

    def __init__(
        self,
        machine: Machine,
        options: MachineOptions,
        banks: Mapping[str, str],
        registers: bool = True,
    ) -> None:
        self.machine, self.options = machine, options
        self.memory = SimulatedMemory(None, *MEMORY)
        self.memory.device = self.memory  # whose flush and invalidate its buffers call
        self.arguments = tuple(banks)
        numbers = {bank: number for number, bank in enumerate(dict.fromkeys(banks.values()))}
        self.groups = [numbers[bank] for bank in banks.values()]
        self.registers = {register.name: register for register in register_map(machine.w_ports)}
        self.bo = Bo
        self.kernel = ReadableKernel if registers else Kernel

    def device(self, which: int | str) -> Card:
        """The only card has the number 0."""
        if which not in (0, "0000:00:00.0"):
            raise RuntimeError(f"Could not open device with index '{which}'")
        return Card(self)

    def close(self) -> None:
        """Switch it off. A second time does nothing."""
        session, self.memory.session = self.memory.session, None
        if session is not None:
            session.close()

    def read(self, offset: int) -> int:
        assert self.memory.session
        return self.memory.session.read(offset)

    def write(self, register: Register, value: int) -> None:
        assert self.memory.session
        for word, offset in enumerate(register.offsets):
            self.memory.session.write(offset, value >> 32 * word & 0xFFFF_FFFF)


class Card:
    """`pyxrt.device`."""

    def __init__(self, xrt: SimulatedXrt) -> None:
        self.xrt = xrt

    def get_info(self, key: Info) -> str:
        return "0000:00:00.0"

    def load_xclbin(self, path: str) -> str:
        """Resets the machine; the file is not looked at."""
        xrt = self.xrt
        xrt.close()
        xrt.memory.session = xrt.machine.open(xrt.memory.image, xrt.options)
        return path


class Bo:
    """`pyxrt.bo`: a buffer in a bank."""

    normal = 0

    def __init__(self, card: Card, size: int, flags: int, group: int) -> None:
        self.group = group
        self.buffer = card.xrt.memory.allocate((size,), np.uint8)

    def map(self) -> memoryview:
        return np.asarray(self.buffer).data

    def size(self) -> int:
        return int(self.buffer.nbytes)

    def sync(self, direction: Direction, size: int, offset: int) -> None:
        part = self.buffer[offset : offset + size]
        if direction is Direction.XCL_BO_SYNC_BO_TO_DEVICE:
            part.sync_to_device()
        else:
            part.sync_from_device()


class Kernel:
    """`pyxrt.kernel`. A buffer of another bank than that of its argument is refused."""

    exclusive, shared = 0, 1

    def __init__(self, card: Card, uuid: str, name: str, mode: int) -> None:
        if name not in (NAME, f"{NAME}:{{{INSTANCE}}}"):
            raise RuntimeError(f"No such kernel '{name}'")
        self.xrt, self.mode = card.xrt, mode

    def group_id(self, index: int) -> int:
        return self.xrt.groups[index]

    def __call__(self, *arguments: Any) -> Run:
        xrt = self.xrt
        for name, group, bo in zip(xrt.arguments, xrt.groups, arguments, strict=False):
            if bo.group != group:
                raise RuntimeError(f"{name} is connected to bank {group}, not {bo.group}")
            xrt.write(xrt.registers[name], int(bo.buffer.device_address))
        xrt.write(xrt.registers["n_images"], arguments[len(xrt.arguments)])
        xrt.write(xrt.registers["control"], START)
        return Run(xrt)


class ReadableKernel(Kernel):
    """Up to XRT 2.14."""

    def read_register(self, offset: int) -> int:
        if self.mode != self.exclusive:
            raise RuntimeError("Cannot read or write kernel with shared access")
        return self.xrt.read(offset)


class Run:
    """`pyxrt.run` that was started."""

    def __init__(self, xrt: SimulatedXrt) -> None:
        self.xrt, self.done = xrt, False

    def state(self) -> State:
        assert self.xrt.memory.session
        if not self.done:
            self.xrt.memory.session.advance(POLL_CYCLES)
            self.done = bool(self.xrt.read(self.xrt.registers["control"].offset) & DONE)
        return State.ERT_CMD_STATE_COMPLETED if self.done else State.ERT_CMD_STATE_SUBMITTED

    def wait(self, milliseconds: int) -> State:
        end = time.monotonic() + milliseconds / 1000
        while self.state() is not State.ERT_CMD_STATE_COMPLETED:
            if time.monotonic() > end:
                return State.ERT_CMD_STATE_TIMEOUT
        return State.ERT_CMD_STATE_COMPLETED
