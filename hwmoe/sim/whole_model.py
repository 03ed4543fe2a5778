"""Whole images on the whole machine in SystemVerilog, against the integer reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from hwmoe.plan.image import constant_parts, image_records, read_logits, result_bytes
from hwmoe.plan.packing import Ints
from hwmoe.plan.program import Program, Step, last_stores, steady_cycles
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference
from hwmoe.sim.checkpoint import Checkpoints
from hwmoe.sim.diagnosis import missing_tokens
from hwmoe.sim.divergence import Divergence, SimulationFault, first_divergence
from hwmoe.sim.machine import Machine, MachineRun
from hwmoe.sim.machine_image import MemoryImage
from hwmoe.sim.machine_session import Captured, CaptureRequest, MachineOptions, Progress

LOST_CYCLES = 50_000_000
"""A run that takes so many cycles an image has stopped."""


@dataclass
class WholeRun:
    """Outcome of `simulate_model`: what was compared, the run, the first difference if any.

    `last`: the steps that complete an image's results.
    """

    stages: int = 1
    last: frozenset[int] = frozenset()
    images: int = 0
    tensors: int = 0
    values: int = 0
    run: MachineRun | None = None
    divergence: Divergence | SimulationFault | None = None

    @property
    def stores(self) -> list[int]:
        """Cycles from the start to the end of each image."""
        assert self.run
        events = self.run.events
        done = (events["done"] == 1) & (events["null"] == 0)
        last = events[done & np.isin(events["step"], list(self.last))]
        return [int(cycle) - self.run.start_cycle for cycle in last["cycle"]]

    @property
    def latency(self) -> int:
        """Cycles from the start to the first image's results."""
        return self.stores[0]

    @property
    def cycles_per_image(self) -> float:
        """Between results while the machine is full (`steady_cycles`)."""
        return steady_cycles(self.stores, self.stages)


def simulate_model(
    program: Program,
    model: QuantizedModel,
    machine: Machine,
    patches: npt.NDArray[np.int8],
    tasks: Sequence[int],
    options: MachineOptions,
    *,
    traced: int = 0,
    seconds: float = 3600.0,
    progress: Callable[[Progress], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> WholeRun:
    """Run int8 patches [N, patches, K], a task an image, in one go.

    Logits of every image and clipped values of every site are compared, and every tensor of
    the first `traced` images. Stops at the first difference; if any image is traced, one in the
    logits of another image is named by the first tensor that explains it. A run that does not
    end in `seconds` is a difference too, with the state of the machine; `checkpoints` keep it.
    """
    whole = WholeRun(program.loop["stages"], last_stores(program))
    memory = machine_memory(program, patches, tasks)
    try:
        whole.run = machine.run(
            memory,
            len(patches),
            options,
            captures=list(_requests(program)) if traced else [],
            steps=len(program.steps),
            cycle_limit=LOST_CYCLES * (len(patches) + 1),
            seconds=seconds,
            progress=progress,
            step_name=lambda index: f"{program.steps[index].name} (step {index})",
            awaited=partial(missing_tokens, program),
            checkpoints=checkpoints,
        )
        whole.divergence = _compare(whole, program, model, patches, tasks, traced)
    except SimulationFault as fault:
        whole.divergence = fault
    return whole


def machine_memory(
    program: Program, patches: npt.NDArray[np.int8], tasks: Sequence[int]
) -> MemoryImage:
    """All that the machine reads, and room for its results."""
    results = np.zeros(result_bytes(program, len(patches)), np.uint8)
    images = {"images": image_records(program, patches, tasks), "results": results}
    return MemoryImage.build(constant_parts(program) | images, writable=["results"])


def _compare(
    whole: WholeRun,
    program: Program,
    model: QuantizedModel,
    patches: npt.NDArray[np.int8],
    tasks: Sequence[int],
    traced: int,
) -> Divergence | None:
    assert whole.run
    check = _Tensors(program, model, _by_image(program, whole.run.captures, tasks), patches, tasks)
    for image in range(traced):
        if found := check.image(image):
            return found
    whole.tensors, whole.values = check.tensors, check.values
    logits = read_logits(program, whole.run.results, tasks)
    clipped: dict[str, int] = {}
    for task in sorted(set(tasks)):
        mine = [image for image, own in enumerate(tasks) if own == task]
        reference = run_reference(model, patches[mine], task)
        for image, expected in zip(mine, reference.logits, strict=True):
            found = first_divergence(_what(model, tasks, image), "logits", expected, logits[image])
            if found:
                return (check.image(image) if traced else None) or found
            whole.images += 1
        for site, count in reference.saturations.items():
            clipped[site] = clipped.get(site, 0) + count
    return _saturations(program, whole.run, clipped)


def _what(model: QuantizedModel, tasks: Sequence[int], image: int) -> str:
    return (
        f"RTL {model.config.name}/{model.config.tasks[tasks[image]].name} image {image} of the run"
    )


def _saturations(program: Program, run: MachineRun, expected: dict[str, int]) -> Divergence | None:
    counts: dict[str, int] = {}
    for step, count in zip(program.steps, run.step_clipped, strict=True):
        counts[step.site] = counts.get(step.site, 0) + count
    for site, count in counts.items():
        want = np.array([expected.get(site, 0)])
        found = first_divergence("RTL", f"{site} saturations", want, np.array([count]))
        if found:
            return found
    return None


# ---- tensors --------------------------------------------------------------------------------


def _requests(program: Program) -> Iterator[CaptureRequest]:
    """What every step leaves on chip."""
    lanes = program.accelerator.linear.t_in
    for index, step in enumerate(program.steps):
        result = step.result
        if result.space != "none" and result.channels:
            words = result.width(lanes) // lanes * result.rows
            yield CaptureRequest(index, result.space, result.base, words)


def _by_image(
    program: Program, captures: Sequence[Captured], tasks: Sequence[int]
) -> dict[tuple[int, int], Captured]:
    """(step, image) -> what it left: images of a step's tasks come in order."""
    seen: dict[int, int] = {}
    found = {}
    for one in captures:
        step = one.request.step
        mask = program.steps[step].fields["tasks"]
        images = [image for image, task in enumerate(tasks) if mask >> task & 1]
        count = seen.get(step, 0)
        if count == len(images):
            name = program.steps[step].name
            raise SimulationFault(
                f"RTL: {name} (step {step}) was completed more than {count} times"
            )
        seen[step] = count + 1
        found[step, images[count]] = one
    return found


@dataclass
class _Tensors:
    """Compares what was captured of an image, step by step; counts what it has compared."""

    program: Program
    model: QuantizedModel
    captured: Mapping[tuple[int, int], Captured]
    patches: npt.NDArray[np.int8]
    tasks: Sequence[int]
    tensors: int = 0
    values: int = 0

    def image(self, image: int) -> Divergence | None:
        """Every tensor of one image; of a residual that is added to several times, the last."""
        task, what = self.tasks[image], _what(self.model, self.tasks, image)
        reference = run_reference(self.model, self.patches[image : image + 1], task, trace=True)
        assert reference.trace is not None
        steps = [
            (index, step)
            for index, step in self.program.of_task(task)
            if step.name in reference.trace and step.result.channels
        ]
        last = {step.name: index for index, step in steps}
        for index, step in steps:
            expected = reference.trace[step.name]
            expected = expected.reshape(-1, expected.shape[-1])
            if last[step.name] != index or not len(expected):
                continue
            if (index, image) not in self.captured:
                raise SimulationFault(f"{what}: {step.name} was not completed")
            got = _tensor(self.program, step, self.captured[index, image], len(expected))
            if found := first_divergence(what, step.name, expected, got):
                return found
            self.tensors += 1
            self.values += got.size
        return None


def _tensor(program: Program, step: Step, captured: Captured, rows: int) -> Ints:
    """What a step left, int [rows, channels]."""
    lanes = program.accelerator.linear.t_in
    narrow = step.result.space in ("act8", "heads")
    flat = captured.data.reshape(-1)
    words: Ints = (flat.view("i1") if narrow else flat.view("<i2")).reshape(-1, lanes)
    tiles = step.result.width(lanes) // lanes
    rows_first = words[: tiles * rows].reshape(tiles, rows, lanes).transpose(1, 0, 2)
    return step.result.plain(rows_first.reshape(rows, -1), lanes)
