"""What the driver needs of a board or card, whatever reaches it: PYNQ or XRT."""

from __future__ import annotations

import fcntl
import re
import tempfile
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


class DeviceError(RuntimeError):
    """The machine did not do what it should, or it is not the one of this package."""


class Buffer(Protocol):
    """uint8 [nbytes] on the host, and as many bytes that the machine reaches; syncs copy."""

    nbytes: int

    def __getitem__(self, part: slice) -> Bytes: ...
    def __setitem__(self, part: slice, values: Bytes | int) -> None: ...
    def sync_to_device(self) -> None: ...
    def sync_from_device(self) -> None: ...


class Board(Protocol):
    """What `Accelerator` needs of PYNQ or XRT. `name` tells devices apart; without registers,
    `no_registers` says why."""

    name: str
    has_registers: bool
    no_registers: str

    def load(self) -> None:
        """Put the bitstream on the device."""

    def allocate(self, argument: str, size: int) -> Buffer:
        """Memory for a pointer of the machine."""

    def run(self, arguments: dict[str, Buffer], count: int, patience: float) -> bool:
        """Run so many images; False if none was finished for `patience` seconds."""

    def read(self, offset: int) -> int:
        """A register of 32 bits."""

    def idle(self) -> bool:
        """Whether no run is under way."""


def lock_device(device: str) -> IO[str]:
    """Held, until it is closed, by the only process that works with a device."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", device)
    path = Path(tempfile.gettempdir()) / f"hwmoe-{name}.lock"
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise DeviceError(
            f"{device} is in use by another process or notebook: close that one first ({path})"
        ) from None
    return file
