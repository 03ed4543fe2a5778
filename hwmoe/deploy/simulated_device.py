"""A PYNQ device that is a simulation: `Overlay`, `register_map` and `allocate` of PYNQ on top,
the compiled SystemVerilog of hwmoe_top with the board's memory below."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from pynq.pl_server.device import Device
from pynq.pl_server.embedded_device import EmbeddedDevice
from pynqmetadata.frontends import Metadata
from pynqmetadata.views.runtime import RuntimeMetadataParser

from hwmoe.codegen.rtl_axi import ADDRESS_BITS
from hwmoe.deploy.hwh import VLNV, processor_of
from hwmoe.deploy.simulated_memory import SimulatedMemory
from hwmoe.deploy.simulated_soc import SOCS, BusError, Registers
from hwmoe.plan.board import Board
from hwmoe.sim.diagnosis import diagnosis
from hwmoe.sim.machine import Machine
from hwmoe.sim.machine_registers import CONTROL, IDLE, START
from hwmoe.sim.machine_session import MachineOptions, MachineSession

POLL_CYCLES = 1000
"""That pass before a running machine's control register is read. On a board it is far more."""

_numbers = itertools.count()


class SimulatedDevice(Device):  # type: ignore[misc]
    """A board with PYNQ whose fabric is `machine`. Give it to `Overlay`, or make it
    `Device.active_device`. Close it, or use `with`.

    A bitstream resets the fabric; what it holds is not looked at. `name` is the board's, `tag` is
    one board's own. `options`: the memory's bandwidth and latency. The clock stands between two
    accesses to registers. HwmoeError if PYNQ does not run on the board. Later SimulationFault if
    the machine breaks a rule of AXI, BusError where no register is.
    """

    def __init__(
        self,
        board: Board,
        machine: Machine,
        options: MachineOptions,
        tag: str | None = None,
    ) -> None:
        super().__init__(tag or f"hwmoe-{os.getpid()}-{next(_numbers)}")
        processor, soc = processor_of(board), SOCS[board.family]
        self.name, self.arch = board.name, soc.arch
        self.capabilities = {"REGISTER_RW": True}
        self.default_memory = SimulatedMemory(self, *soc.memory)
        self.registers = Registers(soc)
        self.options = options
        self._machine = machine
        self._window = (processor.base, 1 << ADDRESS_BITS)
        self._session: MachineSession | None = None
        self._started = False

    def __enter__(self) -> SimulatedDevice:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Switch it off. A second time does nothing."""
        self.default_memory.session = None
        if self._session is not None:
            self._session.close()
        self._session = None

    # ---- what Overlay asks for

    def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False) -> Any:
        """What the .hwh beside a bitstream says, and the memory that PYNQ gets from XRT."""
        if partial:
            raise RuntimeError("the simulated board takes no partial bitstreams")
        parser = RuntimeMetadataParser(Metadata(input=str(Path(bitfile_name).with_suffix(".hwh"))))
        image = self.default_memory.image
        parser.mem_dict["PSDDR"] = {
            "base_address": image.base,
            "size": len(image.data),
            "type": "DDR4",
            "used": 1,
            "streaming": False,
            "tag": "PSDDR",
        }
        parser.refresh_hierarchy_dict()
        return parser

    def get_memory(self, description: object) -> SimulatedMemory:
        """There is one memory."""
        return self.default_memory

    def download(self, bitstream: Any, parser: Any = None) -> None:
        """Load a bitstream: the fabric is reset, memory stays."""
        for ip in parser.ip_dict.values():
            if ip["type"] == VLNV:  # Vivado chose its address; the placeholder's is the default
                self._window = (ip["phys_addr"], ip["addr_range"])
        self.program()
        EmbeddedDevice.set_axi_port_width(self, parser)
        self.post_download(bitstream, parser, self.name)

    def program(self) -> None:
        """Reset the fabric."""
        self.close()
        self._session = self._machine.open(self.default_memory.image, self.options)
        self.default_memory.session = self._session
        self._started = False

    # ---- registers

    def read_registers(self, address: int, length: int) -> bytes:
        """`length` bytes, little-endian, in accesses of 32 bits."""
        words = (self._read(address + at) for at in range(0, length, 4))
        return b"".join(word.to_bytes(4, "little") for word in words)

    def write_registers(self, address: int, data: bytes) -> None:
        """In accesses of 32 bits."""
        for at in range(0, len(data), 4):
            self._write(address + at, int.from_bytes(data[at : at + 4], "little"))

    def _read(self, address: int) -> int:
        base, size = self._window
        if not 0 <= address - base < size:
            return self.registers.read(address)
        session = self._fabric(address)
        control = address == base + CONTROL
        if control and self._started:
            session.advance(POLL_CYCLES)
        value = session.read(address - base)
        if control and value & IDLE:
            self._started = False
        return value

    def _write(self, address: int, value: int) -> None:
        base, size = self._window
        if not 0 <= address - base < size:
            self.registers.write(address, value)
            return
        self._fabric(address).write(address - base, value)
        if address == base + CONTROL and value & START:
            self._started = True

    def _fabric(self, address: int) -> MachineSession:
        if self._session is None:
            raise BusError(f"bus error at 0x{address:x}: no bitstream is loaded")
        return self._session

    # ---- buffers

    def flush(self, bo: Any, offset: int, pointer: int, size: int) -> None:
        """`sync_to_device` of a buffer."""
        self.default_memory.flush(bo, offset, pointer, size)

    def invalidate(self, bo: Any, offset: int, pointer: int, size: int) -> None:
        """`sync_from_device` of a buffer."""
        self.default_memory.invalidate(bo, offset, pointer, size)

    # ---- what no board tells

    def diagnosis(self) -> str:
        """What every engine and every port of the machine is doing, a line each."""
        return diagnosis(self._session) if self._session else "no bitstream is loaded"
