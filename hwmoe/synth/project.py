"""Synthesis of a written project: every kernel of it, and its share of the board."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwmoe.codegen.folder import KEPT, write_json
from hwmoe.codegen.project import Project
from hwmoe.errors import HwmoeError
from hwmoe.plan.board import Board
from hwmoe.quant.calibrate import Progress, no_progress
from hwmoe.synth.resources import Cells, Resources
from hwmoe.synth.yosys import FAMILY, SECONDS, synthesize, yosys_version

RESOURCES = "resources.json"
LIMITS = (
    "Yosys, not Vivado: cells counted after mapping, without place and route, so no clock and no"
    " power.",
    "Pessimistic: registers are not packed into DSPs and block RAMs, and pairs of small LUTs do not"
    " share a LUT6.",
    "The kernels written in SystemVerilog only: no AXI, no DMA, nothing of what HLS makes.",
)


def synthesize_project(
    folder: Path, progress: Progress = no_progress, timeout: float = SECONDS
) -> dict[str, Any]:
    """Synthesize each kernel of a project as it is on disk; writes `resources.json` there.

    What was synthesized before from the same sources by the same version is not done again.
    """
    project = Project.load(folder)
    if project.board.part.startswith("xc7"):
        raise HwmoeError(
            f"{project.board.name} has a part of the 7 series ({project.board.part}); `synth`"
            " counts cells of UltraScale+ only"
        )
    uram = project.board.resources.uram > 0
    kernels: dict[str, Resources] = {}
    sources = project.rtl_sources(folder)
    progress("synthesis", 0, len(sources))
    for kernel, paths in sources.items():
        top = f"hwmoe_{kernel}"
        kernels[kernel] = synthesize(paths, top, folder / KEPT / "synth" / top, timeout, uram)
        progress("synthesis", len(kernels), len(sources))
    total = sum((found.total for found in kernels.values()), Cells())
    result = {
        "tool": f"Yosys {yosys_version()}",
        "command": f"synth_xilinx -family {FAMILY}, hierarchy kept",
        "limits": list(LIMITS),
        "digest": project.digest,
        "board": project.board.name,
        "available": available(project.board),
        "total": total.as_dict(),
        "share": share(total, project.board),
        "kernels": {kernel: found.as_dict() for kernel, found in kernels.items()},
    }
    write_json(folder / RESOURCES, result)
    return result


def available(board: Board) -> dict[str, int]:
    """What the part holds, by the names of `Cells`."""
    part = board.resources
    return {
        "lut_sites": part.lut,
        "ff": part.ff,
        "dsp": part.dsp,
        "bram36": part.bram36,
        "uram": part.uram,
    }


def share(cells: Cells, board: Board) -> Mapping[str, float]:
    """Taken part of the board, 1 for all; without what the board has none of."""
    taken = cells.as_dict()
    return {name: taken[name] / count for name, count in available(board).items() if count}
