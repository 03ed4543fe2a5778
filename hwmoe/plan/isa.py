"""The instruction set (isa.toml) as Python: encoder and decoder."""

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


@dataclass(frozen=True)
class Format:
    """One kind of instruction: its name, opcode, documentation and fields in word order."""

    name: str
    opcode: int
    doc: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class InstructionSet:
    """All of isa.toml."""

    words: int
    list_modes: Mapping[str, int]
    formats: Mapping[str, Format]

    def encode(self, op: str, fields: Mapping[str, int]) -> list[int]:
        """`words` int32 values; every field must be given, and none besides."""
        format_ = self.formats[op]
        if set(fields) != set(format_.fields):
            raise ValueError(f"{op}: fields {sorted(fields)} are not {sorted(format_.fields)}")
        row = [format_.opcode, *(fields[name] for name in format_.fields)]
        return row + [0] * (self.words - len(row))

    def decode(self, row: Sequence[int] | npt.NDArray[np.int32]) -> tuple[str, dict[str, int]]:
        """The inverse of `encode`."""
        format_ = next(f for f in self.formats.values() if f.opcode == int(row[0]))
        return format_.name, {n: int(v) for n, v in zip(format_.fields, row[1:], strict=False)}


@cache
def instruction_set() -> InstructionSet:
    """Read isa.toml once."""
    data = tomllib.loads(resources.files("hwmoe.plan").joinpath("isa.toml").read_text())
    formats = {
        entry["name"]: Format(
            entry["name"], entry["opcode"], entry.get("doc", ""), tuple(entry["fields"])
        )
        for entry in data["instruction"]
    }
    return InstructionSet(data["words"], data["list_modes"], formats)
