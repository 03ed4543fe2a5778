"""Cells of a synthesized kernel by module and in total, from the statistics Yosys prints."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from hwmoe.errors import HwmoeError

# Primitive -> the field of `Cells` it counts for, and how much. A LUTRAM counts the LUTs it
# occupies (UG574).
PRIMITIVES: Mapping[str, tuple[str, int]] = {
    **{f"LUT{inputs}": ("lut", 1) for inputs in range(1, 7)},
    "LUT6_2": ("lut", 1),
    "RAM32X1S": ("lutram", 1),
    "RAM32X1D": ("lutram", 2),
    "RAM64X1S": ("lutram", 1),
    "RAM64X1D": ("lutram", 2),
    "RAM128X1S": ("lutram", 2),
    "RAM128X1D": ("lutram", 4),
    "RAM256X1S": ("lutram", 4),
    "RAM256X1D": ("lutram", 8),
    "RAM512X1S": ("lutram", 8),
    "RAM32M": ("lutram", 4),
    "RAM64M": ("lutram", 4),
    "RAM32M16": ("lutram", 8),
    "RAM64M8": ("lutram", 8),
    "SRL16E": ("srl", 1),
    "SRLC32E": ("srl", 1),
    **dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE"), ("ff", 1)),
    **dict.fromkeys(("CARRY4", "CARRY8"), ("carry", 1)),
    "DSP48E2": ("dsp", 1),
    "RAMB36E2": ("ramb36", 1),
    "RAMB18E2": ("ramb18", 1),
    "URAM288": ("uram", 1),
    **dict.fromkeys(("LDCE", "LDPE", "$dlatch", "$adlatch", "$dlatchsr", "$sr"), ("latch", 1)),
}
_LATCH = re.compile(r"\$_(DLATCH|DLATCHSR|SR)_\w+_")  # before they are mapped to LDCE and LDPE
_DERIVED = re.compile(r"\$paramod(?:\$[0-9a-f]+)?\\([^\\]+)")


@dataclass(frozen=True)
class Cells:
    """How many of each; `lut` is logic only, `lutram` and `srl` are LUTs used as memory."""

    lut: int = 0
    lutram: int = 0
    srl: int = 0
    ff: int = 0
    carry: int = 0
    dsp: int = 0
    ramb36: int = 0
    ramb18: int = 0
    uram: int = 0
    latch: int = 0

    @property
    def lut_sites(self) -> int:
        """LUTs of the part that are taken, whatever for."""
        return self.lut + self.lutram + self.srl

    @property
    def bram36(self) -> float:
        """Block RAM in blocks of 36 Kbit; two halves make one."""
        return self.ramb36 + self.ramb18 / 2

    def __add__(self, other: Cells) -> Cells:
        names = (field.name for field in fields(Cells))
        return Cells(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def as_dict(self) -> dict[str, Any]:
        """All counts, the sums `lut_sites` and `bram36` too."""
        counts = {field.name: getattr(self, field.name) for field in fields(Cells)}
        return counts | {"lut_sites": self.lut_sites, "bram36": self.bram36}


@dataclass(frozen=True)
class ModuleCells:
    """All instances of one module, whatever their parameters; without the modules inside it."""

    name: str
    instances: int
    cells: Cells


@dataclass(frozen=True)
class Resources:
    """What one top module costs: `total` is the sum over `modules`.

    other: primitives that are none of `Cells` (inverters, wide multiplexers), by name.
    """

    top: str
    modules: tuple[ModuleCells, ...]
    total: Cells
    other: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        return {
            "top": self.top,
            "total": self.total.as_dict(),
            "modules": {
                m.name: {"instances": m.instances, **m.cells.as_dict()} for m in self.modules
            },
            "other": dict(self.other),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Resources:
        """What `as_dict` gave."""
        modules = tuple(
            ModuleCells(name, entry["instances"], _cells(entry))
            for name, entry in data["modules"].items()
        )
        return cls(data["top"], modules, _cells(data["total"]), dict(data["other"]))


def _cells(entry: Mapping[str, Any]) -> Cells:
    return Cells(**{field.name: entry[field.name] for field in fields(Cells)})


def resources_of(stat: Mapping[str, Any], top: str) -> Resources:
    """Resources from the object of Yosys' `stat -json`.

    HwmoeError that names the modules if there is a latch: nothing here is meant to be one.
    """
    inside = {
        name.removeprefix("\\"): module["num_cells_by_type"]
        for name, module in stat["modules"].items()
    }
    instances: Counter[str] = Counter()
    cells: dict[str, Cells] = {}
    other: Counter[str] = Counter()
    for module, count in _instances(inside, top).items():
        name = base_name(module)
        instances[name] += count
        found: Counter[str] = Counter()
        for kind, number in inside[module].items():
            kind = kind.removeprefix("\\")
            if kind in inside:
                continue
            unknown = ("latch" if _LATCH.fullmatch(kind) else "", 1)
            field, weight = PRIMITIVES.get(kind, unknown)
            if field:
                found[field] += weight * number * count
            elif kind != "$scopeinfo":  # names only
                other[kind] += number * count
        cells[name] = cells.get(name, Cells()) + Cells(**found)
    _refuse_latches(top, cells)
    modules = tuple(ModuleCells(n, instances[n], cells[n]) for n in sorted(cells))
    return Resources(top, modules, sum(cells.values(), Cells()), dict(sorted(other.items())))


def base_name(module: str) -> str:
    """The name in the source of a module that Yosys has derived for some parameters."""
    derived = _DERIVED.match(module)
    return derived[1] if derived else module


def _instances(inside: Mapping[str, Mapping[str, int]], top: str) -> dict[str, int]:
    """How often each module stands in the hierarchy below `top`, itself included."""

    @cache
    def below(module: str) -> Counter[str]:
        found = Counter({module: 1})
        for kind, number in inside[module].items():
            kind = kind.removeprefix("\\")
            if kind in inside:
                for name, count in below(kind).items():
                    found[name] += number * count
        return found

    return dict(below(top))


def _refuse_latches(top: str, cells: Mapping[str, Cells]) -> None:
    guilty = [f"{name} ({c.latch})" for name, c in sorted(cells.items()) if c.latch]
    if guilty:
        raise HwmoeError(
            f"{top}: latches were inferred, and none is meant: in {', '.join(guilty)}. "
            "Assign the signal in every branch, or on a clock edge"
        )
