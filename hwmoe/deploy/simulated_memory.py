"""Off-chip memory of a simulated board: buffers that come and go, host arrays apart from it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np
from pynq.buffer import PynqBuffer

from hwmoe.sim.machine_image import PAGE, MemoryImage, MemoryRegion
from hwmoe.sim.machine_session import MachineSession
from hwmoe.sim.streams import ByteArray

OLD_DATA = 0xA5  # in memory that nobody wrote since it was allocated

Shape = int | Iterable[int]


class SimulatedBuffer(PynqBuffer):  # type: ignore[misc]
    """PYNQ's buffer, whose host array is ordinary memory: it and the board meet in syncs only."""

    def freebuffer(self) -> None:
        """The machine cannot reach it any more. A second time, or for a view, does nothing."""
        if not getattr(self, "freed", True):
            self.freed = True
            self.memory.free(self.bo)


class SimulatedMemory:
    """What `allocate` hands out: regions of one image, with an empty page between any two.

    While a machine runs (`session`), it reaches just these.
    """

    def __init__(self, device: Any, base: int, size: int) -> None:
        self.device = device
        self.image = MemoryImage(np.zeros(size, np.uint8), base, ())
        self.session: MachineSession | None = None
        self._next = base
        self._count = 0

    def allocate(
        self, shape: Shape, dtype: Any = "u4", cacheable: int = 1, **_: object
    ) -> SimulatedBuffer:
        """A buffer, the host's array all zero, the board's memory full of old data.

        `RuntimeError` if there is no room, or if it is not to be cached.
        """
        if not cacheable:
            raise RuntimeError("the simulated board has cached buffers only: leave out cacheable")
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        region = self._place(max(size, 1))
        self._change((*self.image.regions, region))
        if self.session is not None:
            self.session.map(region)
        self._bytes(region)[:] = OLD_DATA
        buffer: SimulatedBuffer = SimulatedBuffer(
            shape, dtype, device=self.device, device_address=region.address, bo=region
        )
        buffer[...] = np.zeros((), dtype)
        buffer.memory = self
        return buffer

    def free(self, region: MemoryRegion) -> None:
        """Give a region back."""
        self._change(tuple(other for other in self.image.regions if other != region))
        if self.session is not None:
            self.session.unmap(region)

    def flush(self, region: MemoryRegion, offset: int, host: int, size: int) -> None:
        """From the host's array, at the address `host`, to the board."""
        ctypes.memmove(self._part(region, offset, size).ctypes.data, host, size)

    def invalidate(self, region: MemoryRegion, offset: int, host: int, size: int) -> None:
        """From the board to the host's array."""
        ctypes.memmove(host, self._part(region, offset, size).ctypes.data, size)

    def _part(self, region: MemoryRegion, offset: int, size: int) -> ByteArray:
        if region not in self.image.regions:
            raise RuntimeError(f"{region.name} is freed: it cannot be synchronized")
        if offset < 0 or offset + size > region.size:
            raise RuntimeError(f"{region.name} has {region.size} bytes: no {size} from {offset}")
        return self._bytes(region)[offset : offset + size]

    def _bytes(self, region: MemoryRegion) -> ByteArray:
        start = region.address - self.image.base
        return self.image.data[start : start + region.size]

    def _change(self, regions: tuple[MemoryRegion, ...]) -> None:
        self.image = MemoryImage(self.image.data, self.image.base, regions)

    def _place(self, size: int) -> MemoryRegion:
        """After the last one allocated, so that what was freed is not soon there again."""
        base, end = self.image.base, self.image.base + len(self.image.data)
        taken = [(r.address - PAGE, _page(r.address + r.size) + PAGE) for r in self.image.regions]
        for start in (self._next, base, *sorted(after for _, after in taken)):
            fits = start + size <= end
            if fits and all(start + size <= a or start >= b for a, b in taken):
                self._next = _page(start + size) + PAGE
                self._count += 1
                return MemoryRegion(f"buffer {self._count}", start, size, writable=True)
        held = sum(region.size for region in self.image.regions)
        raise RuntimeError(
            f"allocation of {size} bytes failed: {held} of {len(self.image.data)} bytes are taken"
        )


def _page(address: int) -> int:
    return -(-address // PAGE) * PAGE
