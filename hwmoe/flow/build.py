"""`hwmoe build`: runs Vivado or Vitis where they are, or says what to type; reads their reports."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hwmoe.codegen.folder import write_json
from hwmoe.codegen.project import Project
from hwmoe.quant.calibrate import Progress
from hwmoe.vendor.csim_case import write_case
from hwmoe.vendor.results import VENDOR, comparison
from hwmoe.vendor.runner import TimingNotMet, is_done, run_step
from hwmoe.vendor.steps import Step, default_tool, hls_steps, steps_for
from hwmoe.vendor.tools import find_tool

Result = dict[str, Any]
COLUMNS = ("lut", "ff", "dsp", "bram36", "uram")


def build_folder(
    folder: Path, tool: str | None, source: str, jobs: int, seconds: float, say: Progress
) -> Result:
    """Run a project's steps and write vendor.json. `tool`: vivado, vitis, hls, or None for that of
    the board; `source` of the bitstream: rtl or hls. In the result `installed` is False
    if a tool is missing.

    What was finished from the same sources is not done again. `seconds` is of each step.
    """
    project = Project.load(folder)
    chosen = tool or default_tool(project)
    digest = f"{project.digest}-{source}"
    unified = find_tool("vitis_hls") is None
    steps = steps_for(project, chosen, source, jobs, digest, unified)
    if chosen == "hls":
        write_case(project, folder)
    programs = {step.program: find_tool(step.program) for step in steps}
    missing = sorted(name for name, path in programs.items() if path is None)
    result: Result = {
        "folder": str(folder),
        "tool": chosen,
        "source": source,
        "digest": project.digest,
        "installed": not missing,
        "missing": missing,
        "commands": _commands(project, chosen, source, jobs),
        "outputs": [],
        "seconds": {},
        "failed": None,
    }
    if not missing:
        result["failed"] = _run_all(folder, steps, programs, digest, seconds, say, result)
        result["outputs"] = [
            name for step in steps for name in step.outputs if (folder / name).is_file()
        ]
    result |= comparison(project, folder)
    if not missing or result["reports"]:
        write_json(folder / VENDOR, result)
    return result


def _run_all(
    folder: Path,
    steps: list[Step],
    programs: dict[str, Path | None],
    digest: str,
    seconds: float,
    say: Progress,
    result: Result,
) -> str | None:
    """The message if timing is not met, as the reports are there then; other failures raise."""
    for step in steps:
        if not step.continues and is_done(folder, step, digest):
            say(f"{step.name} (done before)", 1, 1)
            continue
        program = programs[step.program]
        assert program is not None
        start = time.monotonic()
        try:
            run_step(folder, step, program, digest, seconds, say)
        except TimingNotMet as error:
            return str(error)
        finally:
            result["seconds"][step.name] = round(time.monotonic() - start, 1)
    return None


def _commands(project: Project, tool: str, source: str, jobs: int) -> dict[str, list[str]]:
    """What to type in the folder of the project, by what it is for."""
    unified = [step.text() for step in hls_steps(unified=True)]
    classic = [step.text() for step in hls_steps(unified=False)]
    hls = {"HLS, Vitis 2023.2 and later": unified, "HLS, Vitis up to 2024": classic}
    if tool == "hls":
        return hls
    steps = steps_for(project, tool, source, jobs, "", unified=True)
    rest = {"bitstream": ["mkdir -p build/vitis", *(step.text() for step in steps)]}
    if tool == "vivado":
        rest = {"bitstream": [step.text() for step in steps]}
    return {**hls, **rest} if source == "hls" else rest


def show_build(result: Result, console: Console) -> None:
    """Outputs and the comparison, or what to type."""
    if not result["installed"]:
        names = ", ".join(result["missing"])
        console.print(f"Not installed here, or not on PATH: {names}.", markup=False)
        console.print(f"To build where it is, type in {result['folder']}:", markup=False)
        for title, commands in result["commands"].items():
            console.print(f"\n# {title}", markup=False)
            for command in commands:
                console.print(command, soft_wrap=True, markup=False, highlight=False)
        console.print("\nThen `hwmoe build` again reads the reports in build/.", markup=False)
    for name in result["outputs"]:
        console.print(str(Path(result["folder"]) / name), soft_wrap=True, markup=False)
    if result["reports"]:
        _show_comparison(result, console)
    if result["failed"]:
        console.print(result["failed"], soft_wrap=True, markup=False)


def _show_comparison(result: Result, console: Console) -> None:
    table = Table("resources", *(name.upper() for name in COLUMNS))
    predicted, reports = result["predicted"], result["reports"]
    rows = {
        "predicted by formula": predicted["formula"],
        "counted by Yosys": predicted.get("yosys"),
        "Vitis HLS estimate": reports.get("csynth", {}).get("used"),
        "Vivado": reports.get("utilization", {}).get("used"),
        "part": reports.get("utilization", {}).get("available"),
    }
    for title, row in rows.items():
        if row:
            table.add_row(title, *(f"{row[n]:,g}" if n in row else "-" for n in COLUMNS))
    console.print(table)
    clock = result.get("clock")
    if clock:
        met = "met" if clock["met"] else "NOT met"
        possible = clock["possible_mhz"]
        best = f"; about {possible:g} MHz by its worst path" if possible else ""
        console.print(f"{clock['asked_mhz']:g} MHz {met}, WNS {clock['wns_ns']:g} ns{best}")
    for line in result["limits"]:
        console.print(line)
