"""The whole machine in SystemVerilog on images: built, predicted, simulated, compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwmoe.codegen.project import Project
from hwmoe.dse.machine_cycles import MachinePrediction, even_lengths, predict_machine
from hwmoe.model.config import ModelConfig
from hwmoe.plan.board import Board
from hwmoe.plan.program import Program
from hwmoe.quant.calibrate import Progress
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.report.cycles import cycles_section
from hwmoe.sim.checkpoint import Checkpoints
from hwmoe.sim.machine import Machine
from hwmoe.sim.machine_build import OPTIMIZE, library_path
from hwmoe.sim.machine_session import MachineOptions
from hwmoe.sim.routing import routed_lengths
from hwmoe.sim.timeline import write_timeline
from hwmoe.sim.whole_model import WholeRun, simulate_model

PREDICTED_IMAGES = 8
LARGE_MODEL = 100_000_000  # MACs an image

BUILDING = "building the machine's simulation"
SIMULATING = "simulating RTL, cycles"


@dataclass(frozen=True)
class RtlOptions:
    """How the machine is simulated. `stall`: probability that a channel of a port holds back in
    a cycle. `memory_gb_s`: usable bandwidth instead of the board's. `timeline`: file for a trace
    of the run. `seconds`: after which it stops and is kept in the folder of compiled code.
    `resume`: go on with the run that was kept there. `project`: the folder's name at the end, if
    it is written under another one. `task`: only this one, by its number."""

    stall: float = 0.0
    seed: int = 0
    memory_gb_s: float | None = None
    timeline: Path | None = None
    seconds: float = 3600.0
    resume: bool = False
    project: Path | None = None
    task: int | None = None


AS_THE_BOARD = RtlOptions()


@dataclass(frozen=True)
class RtlCheck:
    """Images through the machine: the comparison, and what was predicted of its cycles."""

    whole: WholeRun
    images: int
    memory: MachineOptions
    prediction: MachinePrediction | None

    def cycles(self, project: Project) -> dict[str, object]:
        """For the report."""
        return cycles_section(project, self.memory, self.images, self.prediction, self.whole)


def default_images(project: Project) -> int:
    """Images a task: enough for the machine to be full for a while, few if the model is large."""
    config, stages = project.model.config, project.program.accelerator.stages
    return max(1, images_that_fill(config, stages) // len(config.tasks))


def images_that_fill(config: ModelConfig, stages: int) -> int:
    """Images in a run that show the machine full for a while."""
    return 2 * stages if config.macs > LARGE_MODEL else max(8, 2 * stages)


def board_memory(board: Board, options: RtlOptions) -> MachineOptions:
    """The off-chip memory of a board for the simulation."""
    if options.memory_gb_s is not None:
        given = {"peak_gb_s": options.memory_gb_s, "usable_share": 1.0}
        board = board.model_copy(update={"memory": board.memory.model_copy(update=given)})
    latency = board.memory.latency_cycles
    return MachineOptions(
        bytes_per_cycle=board.bytes_per_cycle,
        latency=latency,
        write_latency=latency,
        stall=options.stall,
        seed=options.seed,
    )


def mean_latency(memory: MachineOptions) -> float:
    """Of a read, with what the simulation adds at random."""
    return memory.latency + memory.jitter / 2


def predict_even(project: Project, memory: MachineOptions) -> MachinePrediction:
    """Of a run of some images whose tokens spread evenly over the experts."""
    config, program = project.model.config, project.program
    tasks = [image % len(config.tasks) for image in range(PREDICTED_IMAGES)]
    lengths = even_lengths(program, config.top_k)
    return predict_machine(program, memory.bytes_per_cycle, mean_latency(memory), tasks, lengths)


def predict_run(
    program: Program,
    model: QuantizedModel,
    patches: npt.NDArray[np.int8],
    tasks: Sequence[int],
    memory: MachineOptions,
) -> MachinePrediction:
    """Of a run of int8 patches [N, patches, K], with the experts that their tokens choose."""
    lengths = routed_lengths(program, model, patches, tasks)
    return predict_machine(program, memory.bytes_per_cycle, mean_latency(memory), tasks, lengths)


def check_machine(
    project: Project,
    folder: Path,
    build_dir: Path,
    patches: npt.NDArray[np.int8],
    options: RtlOptions,
    progress: Progress,
) -> RtlCheck:
    """Every (image, task) of int8 patches [N, patches, K] in one run of the sources in `folder`.

    Tasks alternate. Every tensor of the first image is compared for each task, logits and
    clipped values of all.
    """
    checkpoints = _checkpoints(options, folder, build_dir)
    if options.resume:
        checkpoints.expect(machine_key(project, folder, build_dir))
    program, model = project.program, project.model
    asked = [*range(len(model.config.tasks))] if options.task is None else [options.task]
    tasks = asked * len(patches)
    runs = np.repeat(patches, len(asked), axis=0)
    memory = board_memory(project.board, options)
    predicted = predict_run(program, model, runs, tasks, memory)
    expected = predicted.stores[-1]
    machine = build_machine(project, folder, build_dir, progress)
    whole = simulate_model(
        program,
        model,
        machine,
        runs,
        tasks,
        memory,
        traced=len(asked),
        seconds=options.seconds,
        progress=lambda at: progress(SIMULATING, at.cycles, max(expected, at.cycles + 1)),
        checkpoints=checkpoints,
    )
    if whole.run:
        progress(SIMULATING, whole.run.cycles, whole.run.cycles)
        if options.timeline:
            names = [step.name for step in program.steps]
            write_timeline(options.timeline, whole.run, names.__getitem__, project.board.clock_mhz)
    # Stalls are not in the formulas.
    return RtlCheck(whole, len(runs), memory, None if options.stall else predicted)


def _checkpoints(options: RtlOptions, folder: Path, build_dir: Path) -> Checkpoints:
    home = options.project or folder
    hint = f"hwmoe simulate {home} --level rtl --resume, with the options of this run"
    return Checkpoints(build_dir, options.resume, home / build_dir.name, hint)


def machine_key(project: Project, folder: Path, build_dir: Path) -> str:
    """Of the compiled machine: all that its cycles depend on, but for program and memory."""
    ports, sources = project.program.accelerator.ports, project.rtl_sources(folder)
    path = library_path(sources, ports.port_bits, ports.w_ports, build_dir, OPTIMIZE)
    return path.parent.name


def build_machine(project: Project, folder: Path, build_dir: Path, progress: Progress) -> Machine:
    """Compiled, or found built."""
    ports = project.program.accelerator.ports
    started = []

    def starts(_: str) -> None:
        started.append(True)
        progress(BUILDING, 0, 1)

    machine = Machine(
        project.rtl_sources(folder),
        ports.port_bits,
        ports.w_ports,
        build_dir,
        optimize=OPTIMIZE,
        notify=starts,
    )
    if started:
        progress(BUILDING, 1, 1)
    return machine
