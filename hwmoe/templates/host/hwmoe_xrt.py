"""A card through XRT: the kernel and its buffers by pyxrt. This is not PYNQ.

pyxrt starts a kernel and waits for it. Registers can be read by `kernel.read_register`, up to XRT
2.14 only, of a kernel opened exclusively; later ones give Python none, as `pyxrt` has no `ip`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyxrt
from hwmoe_board import Bytes, DeviceError
from hwmoe_package import Manifest

TO_CARD = pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE
FROM_CARD = pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE
COMPLETED = pyxrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED


class Buffer:
    """uint8 [nbytes] on the host, with its twin in a bank of the card's memory."""

    def __init__(self, bo: Any, size: int) -> None:
        self.bo, self.nbytes = bo, size
        self._host = np.frombuffer(bo.map(), np.uint8)[:size]

    def __getitem__(self, part: slice) -> Bytes:
        return self._host[part]

    def __setitem__(self, part: slice, values: Bytes | int) -> None:
        self._host[part] = values

    def sync_to_device(self) -> None:
        self.bo.sync(TO_CARD, self.bo.size(), 0)

    def sync_from_device(self) -> None:
        self.bo.sync(FROM_CARD, self.bo.size(), 0)


class Board:
    """What `Accelerator` needs of a card. device: its number or PCIe address; None: the first."""

    no_registers = (
        "this XRT shows Python no registers (pyxrt has kernel.read_register up to XRT 2.14 only), "
        "so cycles, clipped values and where a run stopped are not known"
    )

    def __init__(self, folder: Path, manifest: Manifest, device: int | str | None) -> None:
        if manifest["bitstream"]["kind"] == "simulation" and not hasattr(pyxrt, "simulated"):
            raise DeviceError(
                "this package is for simulation, its .xclbin is only a placeholder: build one and "
                "make the package with `hwmoe package --bitstream`"
            )
        self._device = pyxrt.device(0 if device is None else device)
        self._manifest = manifest
        self._file = folder / manifest["bitstream"]["file"]
        self._run: Any = None
        self.has_registers = False
        self.name = f"xrt-{self._device.get_info(pyxrt.xrt_info_device.bdf)}"

    def load(self) -> None:
        """Put the .xclbin on the card and take the kernel for this process alone."""
        uuid = self._device.load_xclbin(str(self._file))
        kernel = self._manifest["kernel"]
        name = f"{kernel['name']}:{{{kernel['instance']}}}"
        self._kernel = pyxrt.kernel(self._device, uuid, name, pyxrt.kernel.exclusive)
        self.has_registers = hasattr(self._kernel, "read_register")

    def read(self, offset: int) -> int:
        """The register at an offset, 32 bits, if `has_registers`."""
        return int(self._kernel.read_register(offset))

    def idle(self) -> bool:
        """Whether no run is under way."""
        return self._run is None or bool(self._run.state() == COMPLETED)

    def allocate(self, argument: str, size: int) -> Buffer:
        """A buffer in the bank of memory that the kernel's `argument` is connected to."""
        group = self._kernel.group_id(self._manifest["kernel"]["arguments"].index(argument))
        return Buffer(pyxrt.bo(self._device, size, pyxrt.bo.normal, group), size)

    def run(self, arguments: dict[str, Buffer], count: int, patience: float) -> bool:
        """Run `count` images; arguments: a buffer for every pointer, by name."""
        names = self._manifest["kernel"]["arguments"]
        self._run = self._kernel(*(arguments[name].bo for name in names), count)
        return bool(self._run.wait(int(1000 * patience * count)) == COMPLETED)
