"""The instruction set (isa.toml) as Python: where fields lie, encoder and decoder."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

Layout = Mapping[str, tuple[int, int]]
"""Field name -> (lowest bit, bits)."""


@dataclass(frozen=True)
class Format:
    """One kind of instruction: `layout` places the common fields and its own `fields`."""

    name: str
    opcode: int
    engine: str
    doc: str
    fields: tuple[str, ...]
    layout: Layout

    @property
    def lowest(self) -> dict[str, int]:
        """Field name -> its lowest bit."""
        return {name: low for name, (low, _) in self.layout.items()}


@dataclass(frozen=True)
class InstructionSet:
    """All of isa.toml."""

    bytes: int
    common: tuple[str, ...]
    engines: tuple[str, ...]
    list_modes: Mapping[str, int]
    spaces: Mapping[str, int]
    formats: Mapping[str, Format]

    @property
    def words(self) -> int:
        """int32 words of an instruction."""
        return self.bytes // 4

    def encode(self, op: str, fields: Mapping[str, int]) -> list[int]:
        """`words` int32 values. Every field of `op` must be given; common ones may be.

        `ValueError` names a field that is missing, unknown or does not hold its value.
        """
        format_ = self.formats[op]
        if not set(format_.fields) <= set(fields) <= set(format_.layout) - {"opcode"}:
            raise ValueError(f"{op}: fields {sorted(fields)} are not {sorted(format_.fields)}")
        whole = format_.opcode
        for name, value in fields.items():
            low, bits = format_.layout[name]
            if not 0 <= value < 1 << bits:
                raise ValueError(f"{op}: {name}={value} does not fit {bits} bits")
            whole |= value << low
        return [int(word) for word in np.frombuffer(whole.to_bytes(self.bytes, "little"), "<i4")]

    def decode(self, row: Sequence[int] | npt.NDArray[np.int32]) -> tuple[str, dict[str, int]]:
        """The inverse of `encode`, common fields included; `ValueError`: no such opcode."""
        data = np.asarray(row, "<i4").tobytes()
        whole = int.from_bytes(data, "little")
        known = [f for f in self.formats.values() if f.opcode == whole & 0xFF]
        if not known:
            raise ValueError(f"no instruction has opcode {whole & 0xFF}")
        layout = known[0].layout
        fields = {
            name: whole >> low & (1 << bits) - 1
            for name, (low, bits) in layout.items()
            if name != "opcode"
        }
        return known[0].name, fields


@cache
def instruction_set() -> InstructionSet:
    """Read isa.toml once."""
    data = tomllib.loads(resources.files("hwmoe.plan").joinpath("isa.toml").read_text())
    common = [(name, bits) for name, bits in data["common"]]
    formats = {}
    given = {entry["name"]: entry for entry in data["instruction"]}
    for entry in data["instruction"]:
        own = [(name, bits) for name, bits in given[entry.get("like", entry["name"])]["fields"]]
        formats[entry["name"]] = Format(
            entry["name"],
            entry["opcode"],
            entry["engine"],
            entry["doc"],
            tuple(name for name, _ in own),
            _layout(entry["name"], [*common, *own], 8 * data["bytes"]),
        )
    names = tuple(name for name, _ in common)
    return InstructionSet(
        data["bytes"], names, tuple(data["engines"]), data["list_modes"], data["spaces"], formats
    )


def _layout(op: str, fields: list[tuple[str, int]], size: int) -> Layout:
    """Fields from bit 0 up; `ValueError` if one crosses a 32-bit word or there is no room."""
    layout, low = {}, 0
    for name, bits in fields:
        if low // 32 != (low + bits - 1) // 32:
            raise ValueError(f"isa.toml: {op}.{name} crosses a 32-bit word")
        layout[name] = (low, bits)
        low += bits
    if low > size:
        raise ValueError(f"isa.toml: {op} takes {low} bits of {size}")
    return layout
