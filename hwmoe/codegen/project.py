"""The fourth hand-over: all files of one accelerator, in memory until they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hwmoe
from hwmoe.codegen.folder import MARKER, read_json, write_json, write_text
from hwmoe.codegen.hls import hls_files
from hwmoe.codegen.rtl_machine import machine_rtl
from hwmoe.errors import HwmoeError
from hwmoe.plan.board import Board
from hwmoe.plan.checker import check_program
from hwmoe.plan.disassembler import listing
from hwmoe.plan.program import Program
from hwmoe.quant.quantized import QuantizedModel

QUANTIZED = "quantized.safetensors"
PROGRAM = "program.safetensors"
LISTING = "program.txt"


@dataclass(frozen=True, eq=False)
class Project:
    """A quantized model, its program, and the files made of them by path.

    These are `hls/...`, `rtl/...` and the program as text. `source` says what the model was made
    from, as the user gave it.
    """

    model: QuantizedModel
    program: Program
    board: Board
    files: Mapping[str, str]
    source: str

    @property
    def rtl(self) -> tuple[str, ...]:
        """Paths of the files of `hwmoe_top` and all below it."""
        return tuple(sorted(name for name in self.files if name.startswith("rtl/")))

    @property
    def digest(self) -> str:
        """16 hex digits over sources, program and constants."""
        total = hashlib.sha256()
        for name in sorted(self.files):
            total.update(f"{name}\0{self.files[name]}\0".encode())
        for array in (self.program.encode(), self.program.params, self.program.weights):
            total.update(array.tobytes())
        return total.hexdigest()[:16]

    def write(self, folder: Path) -> None:
        """Write everything into an existing folder; each file beside, then renamed."""
        for name, text in self.files.items():
            write_text(folder / name, text)
        self.model.save(folder / QUANTIZED)
        self.program.save(folder / PROGRAM)
        marker: dict[str, Any] = {
            "hwmoe": hwmoe.__version__,
            "digest": self.digest,
            "source": self.source,
            "experts": self.model.experts,
            "board": self.board.model_dump(),
            "accelerator": self.program.accelerator.model_dump(),
            "files": sorted(self.files),
        }
        write_json(folder / MARKER, marker)

    def rtl_sources(self, folder: Path) -> list[Path]:
        """The SystemVerilog of a written project."""
        return [folder / name for name in self.rtl]

    @classmethod
    def load(cls, folder: Path) -> Project:
        """Read a written project back, sources as they are on disk now."""
        if not (folder / MARKER).is_file():
            raise HwmoeError(f"{folder}: not a project of hwmoe; `hwmoe generate` makes one")
        marker = read_json(folder / MARKER)
        missing = [name for name in marker["files"] if not (folder / name).is_file()]
        if missing:
            raise HwmoeError(f"{folder}: files are missing: {', '.join(missing)}")
        return cls(
            QuantizedModel.load(folder / QUANTIZED),
            Program.load(folder / PROGRAM),
            Board.model_validate(marker["board"]),
            {name: (folder / name).read_text(encoding="utf-8") for name in marker["files"]},
            marker["source"],
        )


def make_project(model: QuantizedModel, program: Program, board: Board, source: str) -> Project:
    """Render HLS and SystemVerilog for a program; nothing touches the disk.

    `HwmoeError` if the program would not compute what it says (`check_program`).
    """
    check_program(program)
    acc, sizes = program.accelerator, program.sizes
    hls = hls_files(acc, sizes, offsets=board.runtime != "xrt")
    files = {f"hls/{name}": text for name, text in hls.items()}
    files |= {f"rtl/{name}": text for name, text in machine_rtl(acc, sizes).items()}
    return Project(model, program, board, files | {LISTING: listing(program)}, source)
