"""`hwmoe simulate --engine`: Verilog that Vitis HLS exported, in the bench of our kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from hwmoe.codegen.folder import KEPT
from hwmoe.codegen.project import Project
from hwmoe.errors import HwmoeError
from hwmoe.model.data import images_for
from hwmoe.quant.calibrate import Progress
from hwmoe.sim.compiled import CompiledKernel
from hwmoe.sim.divergence import SimulationFault
from hwmoe.sim.exported import exported_kernel
from hwmoe.sim.kernel_check import (
    KERNELS,
    KernelRun,
    Work,
    own_sources,
    ports_of_kernel,
    run_kernel,
    work_of,
)

Result = dict[str, Any]
PATIENCE = 100
"""Times as many cycles as our kernel takes: then an exported one is said never to finish."""
IMAGES = 1


def parse_engines(given: list[str]) -> dict[str, Path]:
    """`linear=DIR`, ..: engine -> folder. `HwmoeError` with all that is wrong."""
    engines: dict[str, Path] = {}
    problems = []
    for text in given:
        name, equals, folder = text.partition("=")
        if not equals or not folder or name not in KERNELS:
            problems.append(f"  {text}: not ENGINE=DIR with an engine of {', '.join(KERNELS)}")
        elif name in engines:
            problems.append(f"  {text}: {name} is given twice")
        else:
            engines[name] = Path(folder)
    if problems:
        raise HwmoeError("--engine:\n" + "\n".join(problems))
    return engines


def simulate_engines(
    folder: Path,
    given: list[str],
    images: str | None,
    count: int | None,
    stall: float,
    seed: int,
    seconds: float,
    say: Progress,
) -> Result:
    """The layers of `count` images (1) and all tasks through our kernel and the exported one."""
    engines = parse_engines(given)
    project = Project.load(folder)
    found = images_for(project.model.config, images).test[: count or IMAGES]
    patches = project.model.quantize_images(found)
    (folder / KEPT).mkdir(exist_ok=True)
    # Every folder is looked at before anything is simulated.
    benches, problems = {}, []
    for step, (engine, place) in enumerate(engines.items()):
        say(f"building {engine}", step, len(engines))
        ports = ports_of_kernel(engine, project.program.accelerator)
        try:
            benches[engine] = exported_kernel(f"hwmoe_{engine}", place, ports, folder / KEPT)
        except HwmoeError as error:
            problems.append(str(error))
        say(f"building {engine}", step + 1, len(engines))
    if problems:
        raise HwmoeError("\n".join(problems))
    tasks = range(len(project.model.config.tasks))
    result: Result = {"folder": str(folder), "images": len(found), "engines": {}}
    for engine, bench in benches.items():
        work = work_of(engine, project.program, project.model, patches, tasks)
        own = _own(engine, project, folder)
        result["engines"][engine] = _check(engine, project, own, bench, work, stall, seed, seconds)
        result["engines"][engine]["source"] = str(engines[engine])
    checks = result["engines"].values()
    result["bit_exact"] = not any(c["divergence"] or c["fault"] for c in checks)
    return result


def show_engines(result: Result, console: Console) -> None:
    for engine, check in result["engines"].items():
        if wrong := check["fault"] or check["divergence"]:
            console.print(f"{engine} of {check['source']}: DIFFERS. {wrong}", markup=False)
            continue
        console.print(
            f"{engine} of {check['source']}: bit-exact, {check['tensors']} tensors, "
            f"{check['values']:,} values",
            markup=False,
        )
        ratio = check["cycles"] / check["own_cycles"]
        console.print(
            f"  {check['cycles']:,} cycles; our SystemVerilog {check['own_cycles']:,} "
            f"({ratio:.2f} times as many)"
        )


def _own(engine: str, project: Project, folder: Path) -> CompiledKernel:
    acc = project.program.accelerator
    sources = [folder / "rtl" / name for name in own_sources(engine, acc)]
    ports = ports_of_kernel(engine, acc)
    return CompiledKernel(
        f"hwmoe_{engine}", sources, ports.inputs, ports.outputs, folder / KEPT, optimize="-O1"
    )


def _check(
    engine: str,
    project: Project,
    own: CompiledKernel,
    bench: CompiledKernel,
    work: list[Work],
    stall: float,
    seed: int,
    seconds: float,
) -> Result:
    """Ours first: it must be right, and says how long the other one may take."""
    acc = project.program.accelerator
    ours = run_kernel(engine, own, work, acc, stall, seed, seconds=seconds)
    if ours.divergence:
        raise SimulationFault(f"our own {engine} differs: {ours.divergence}")
    fault, run = None, KernelRun(None, 0, 0, 0, 0.0)
    try:
        limit = PATIENCE * ours.cycles
        run = run_kernel(engine, bench, work, acc, stall, seed, limit, seconds)
    except SimulationFault as error:
        fault = str(error)
    return {
        "divergence": str(run.divergence) if run.divergence else None,
        "fault": fault,
        "tensors": run.tensors,
        "values": run.values,
        "cycles": run.cycles,
        "own_cycles": ours.cycles,
        "seconds": run.seconds,
    }
