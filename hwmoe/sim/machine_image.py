"""The off-chip memory of a simulated machine: one array of bytes and what exists in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hwmoe.sim.streams import ByteArray

PAGE = 4096
# Above 4 GiB and on no round number, so that a lost half of a pointer shows.
DEFAULT_BASE = 0x3_4560_0000


@dataclass(frozen=True)
class MemoryRegion:
    """Bytes that exist: every access must lie in one region, a write in a `writable` one."""

    name: str
    address: int
    size: int
    writable: bool = False


@dataclass(frozen=True, eq=False)
class MemoryImage:
    """`data[0]` has the address `base`; what lies in no region cannot be reached."""

    data: ByteArray
    base: int
    regions: tuple[MemoryRegion, ...]

    def __post_init__(self) -> None:
        if self.data.dtype != np.uint8 or self.data.ndim != 1 or not self.data.flags.c_contiguous:
            raise ValueError("a memory image must be one contiguous array of uint8")
        end = self.base
        for region in sorted(self.regions, key=lambda region: region.address):
            if region.address < end or region.address + region.size > self.base + len(self.data):
                raise ValueError(f"region {region.name} overlaps another or leaves the image")
            end = region.address + region.size

    @staticmethod
    def build(
        parts: Mapping[str, ByteArray], writable: Collection[str], base: int = DEFAULT_BASE
    ) -> MemoryImage:
        """Each part on a page of its own, and an empty page between any two."""
        regions = []
        address = base
        for name, part in parts.items():
            regions.append(MemoryRegion(name, address, part.size, name in writable))
            address += (-(-part.size // PAGE) + 1) * PAGE
        image = MemoryImage(np.zeros(address - base, np.uint8), base, tuple(regions))
        for name, part in parts.items():
            image[name][:] = part.reshape(-1)
        return image

    def region(self, name: str) -> MemoryRegion:
        """`KeyError` if there is none of that name."""
        for region in self.regions:
            if region.name == name:
                return region
        raise KeyError(f"the memory has no region {name}")

    def __getitem__(self, name: str) -> ByteArray:
        """The bytes of a region; a view."""
        region = self.region(name)
        start = region.address - self.base
        return self.data[start : start + region.size]

    def copy(self) -> MemoryImage:
        """With data of its own."""
        return replace(self, data=self.data.copy())

    def describe(self, address: int) -> str:
        """Where an address lies, for a message."""
        for region in self.regions:
            if region.address <= address < region.address + region.size:
                return f"0x{address:x} ({region.name} + {address - region.address})"
        below = [region for region in self.regions if region.address <= address]
        if not below:
            return f"0x{address:x}"
        near = max(below, key=lambda region: region.address)
        past = address - near.address - near.size
        return f"0x{address:x} ({past} bytes after the end of {near.name})"
