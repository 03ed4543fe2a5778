"""Synthesis of a written project: the whole machine by module, and its share of the board."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwmoe.codegen.folder import KEPT, read_json, write_json
from hwmoe.codegen.project import Project
from hwmoe.codegen.rtl_machine import TOP
from hwmoe.errors import HwmoeError
from hwmoe.plan.board import Board
from hwmoe.quant.calibrate import Progress, no_progress
from hwmoe.synth.levels import levels_of
from hwmoe.synth.parts import parts_of, synthesize_parts
from hwmoe.synth.resources import Cells
from hwmoe.synth.yosys import FAMILY, LOG, SECONDS, yosys_version

RESOURCES = "resources.json"
LIMITS = (
    "Yosys, not Vivado: cells counted after mapping, without place and route, so no clock and no"
    " power.",
    "Pessimistic: registers are not packed into DSPs and block RAMs, and pairs of small LUTs do not"
    " share a LUT6.",
    "The machine from its AXI ports inwards, without the board's memory controller and host.",
)


def synthesize_project(
    folder: Path, progress: Progress = no_progress, timeout: float = SECONDS
) -> dict[str, Any]:
    """Synthesize the machine of a project as it is on disk; writes `resources.json` there.

    What was synthesized before from the same sources by the same version is not done again.
    """
    project = Project.load(folder)
    check_family(project.board)
    sources, work = project.rtl_sources(folder), folder / KEPT / "synth"
    parts = parts_of(path.stem for path in sources)
    runs = len(parts) + 1

    def done(count: int, _: int) -> None:
        progress("synthesis", count, runs)

    progress("synthesis", 0, runs)
    uram = project.board.resources.uram > 0
    try:
        found = synthesize_parts(sources, TOP, parts, work, timeout, uram, done)
    except HwmoeError as error:
        if "did not finish" in str(error):
            raise HwmoeError(
                f"{error}\nA large machine takes many minutes: give it more with --timeout."
                " What is finished is not done again."
            ) from error
        raise
    result = {
        "tool": f"Yosys {yosys_version()}",
        "command": f"synth_xilinx -family {FAMILY}, hierarchy kept",
        "limits": list(LIMITS),
        "digest": project.digest,
        "board": project.board.name,
        "available": available(project.board),
        "share": share(found.total, project.board),
        "levels": logic_levels(work),
        **found.as_dict(),
    }
    write_json(folder / RESOURCES, result)
    return result


def synthesized(project: Project, folder: Path) -> dict[str, Any] | None:
    """The whole machine's cells by the names of `Cells`, if `folder` has those of these sources."""
    path = folder / RESOURCES
    found = read_json(path) if path.is_file() else {}
    total: dict[str, Any] | None = found.get("total")
    return total if found.get("digest") == project.digest else None


def logic_levels(work: Path) -> Mapping[str, int]:
    """LUTs on the longest path of each module, from the logs below `work`."""
    found: dict[str, int] = {}
    for log in sorted(work.glob(f"*/{LOG}")):
        for module, levels in levels_of(log.read_text(errors="replace")).items():
            found[module] = max(levels, found.get(module, 0))
    return found


def check_family(board: Board) -> None:
    """`HwmoeError` for a part whose cells are not counted."""
    if board.part.startswith("xc7"):
        raise HwmoeError(
            f"{board.name} has a part of the 7 series ({board.part}); `synth` counts cells of"
            " UltraScale+ only"
        )


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
