"""Syntheses of the parts of machines: each by itself, kept by what it was made from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hwmoe.codegen.folder import write_text
from hwmoe.codegen.rtl_machine import machine_rtl
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.program import MachineSizes
from hwmoe.synth.parts import needed
from hwmoe.synth.resources import Cells, Resources
from hwmoe.synth.yosys import synthesize

TIMEOUT = 1800.0
ENGINES = "hwmoe_engines.sv"
_PARAMETERS = re.compile(r"(hwmoe_(?:attention|vector)_engine) #\([^;]*?\n  \) (i_\w+) \(")
KEY = "key"  # of a synthesis that is complete
PARTS: Mapping[str, tuple[str, ...]] = {
    "attention": (),
    "linear": (),
    "expert": (),
    "layernorm": (),
    "engines": ("linear_engine", "expert_engine", "attention_engine", "vector_engine"),
    "linear_engine": ("linear",),
    "vector_engine": ("layernorm", "gate"),
    "top": ("fetch", "engines"),
    "expert_engine": ("expert",),
    "attention_engine": ("attention",),
    "gate": (),
    "fetch": (),
}
"""Part of a machine -> the parts inside it that it is counted without; costly ones first."""


@dataclass(frozen=True)
class Machine:
    """What a machine is rendered from."""

    acc: AcceleratorConfig
    sizes: MachineSizes

    @cached_property
    def files(self) -> Mapping[str, str]:
        """Its SystemVerilog."""
        return machine_rtl(self.acc, self.sizes)

    def texts(self, part: str) -> Mapping[str, str]:
        """Its files for one part: Yosys counts no black box with parameters, so those go."""
        if part != "engines":
            return self.files
        return {**self.files, ENGINES: _PARAMETERS.sub(r"\1 \2 (", self.files[ENGINES])}

    @property
    def parts(self) -> list[str]:
        """Those of `PARTS` that it has, each once."""
        return [part for part in PARTS if self.acc.expert or not part.startswith("expert")]


def measure(machine: Machine, part: str, kept: Path) -> Resources:
    """Cells of one part by module; taken from below `kept` if it was made of the same text."""
    own, without = _sources(machine, part, _rendered(machine.texts(part), kept))
    work = _work(machine, part, own, kept)
    return synthesize(own, f"hwmoe_{part}", work, TIMEOUT, without=without)


def is_known(machine: Machine, part: str, kept: Path) -> bool:
    """Whether `measure` only has to look."""
    return (folder_of(machine, part, kept) / KEY).is_file()


def folder_of(machine: Machine, part: str, kept: Path) -> Path:
    """Where the synthesis of a part is kept: the same for the same text."""
    own, _ = _sources(machine, part, _rendered(machine.texts(part), kept))
    return _work(machine, part, own, kept)


def _rendered(texts: Mapping[str, str], kept: Path) -> Path:
    """The folder with these files."""
    folder = kept / "rtl" / _digest(texts)
    for file, text in texts.items():
        if not (folder / file).is_file():
            write_text(folder / file, text)
    return folder


def _sources(machine: Machine, part: str, folder: Path) -> tuple[list[Path], list[str]]:
    """(files of the part, modules that are not looked into)."""
    without = [f"hwmoe_{inner}" for inner in PARTS[part] if f"hwmoe_{inner}.sv" in machine.files]
    paths = [folder / file for file in machine.files]
    return needed(paths, f"hwmoe_{part}", without), without


def _work(machine: Machine, part: str, own: Sequence[Path], kept: Path) -> Path:
    return kept / part / _digest({path.name: machine.texts(part)[path.name] for path in own})


def by_module(found: Resources) -> dict[str, Cells]:
    """Cells of a part by module."""
    return {module.name.removeprefix("hwmoe_"): module.cells for module in found.modules}


def _digest(files: Mapping[str, str]) -> str:
    total = hashlib.sha256()
    for name, text in sorted(files.items()):
        total.update(f"{name}\0{text}\0".encode())
    return total.hexdigest()[:16]
