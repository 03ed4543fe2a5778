"""The fourth hand-over: all files of one accelerator, in memory until they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hwmoe
from hwmoe.codegen.folder import MARKER, read_json, write_json, write_text
from hwmoe.codegen.hls import hls_files, limits_of
from hwmoe.codegen.rtl_attention import attention_rtl
from hwmoe.codegen.rtl_linear import linear_rtl
from hwmoe.errors import HwmoeError
from hwmoe.plan.board import Board
from hwmoe.plan.program import Program
from hwmoe.quant.quantized import QuantizedModel

QUANTIZED = "quantized.safetensors"
PROGRAM = "program.safetensors"
KERNELS = ("linear", "attention")


@dataclass(frozen=True, eq=False)
class Project:
    """A quantized model, its program, and the rendered sources by path (`hls/...`, `rtl/...`).

    rtl: for each kernel the names of its SystemVerilog files below `rtl/`. `source` says what
    the model was made from, as the user gave it.
    """

    model: QuantizedModel
    program: Program
    board: Board
    files: Mapping[str, str]
    rtl: Mapping[str, tuple[str, ...]]
    source: str

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
            "rtl": {kernel: list(names) for kernel, names in self.rtl.items()},
            "files": sorted(self.files),
        }
        write_json(folder / MARKER, marker)

    def rtl_sources(self, folder: Path) -> dict[str, list[Path]]:
        """Paths of the SystemVerilog files of each kernel in a written project."""
        return {kernel: [folder / "rtl" / n for n in names] for kernel, names in self.rtl.items()}

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
            {kernel: tuple(names) for kernel, names in marker["rtl"].items()},
            marker["source"],
        )


def make_project(model: QuantizedModel, program: Program, board: Board, source: str) -> Project:
    """Render HLS and SystemVerilog for a program; nothing touches the disk."""
    acc = program.accelerator
    hls = hls_files(acc, limits_of(program))
    files = {f"hls/{name}": text for name, text in hls.items()}
    rtl = {"linear": linear_rtl(acc.linear), "attention": attention_rtl(acc.attention)}
    for texts in rtl.values():
        files |= {f"rtl/{name}": text for name, text in texts.items()}
    names = {kernel: tuple(sorted(texts)) for kernel, texts in rtl.items()}
    return Project(model, program, board, files, names, source)
