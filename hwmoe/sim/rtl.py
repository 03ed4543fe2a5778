"""Every linear and attention operation of a model, on the kernels in SystemVerilog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwmoe.plan.packing import Ints
from hwmoe.plan.program import Program
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference
from hwmoe.sim.compiled import CompiledKernel
from hwmoe.sim.divergence import Divergence, SimulationFault, first_divergence
from hwmoe.sim.kernel_cases import SHORT, axis_ports, widths_of
from hwmoe.sim.model_cases import KernelStep, ModelCases, stream_case
from hwmoe.sim.streams import StreamCase, StreamResult

Progress = Callable[[str, int, int], None]
TOPS = {"linear": "hwmoe_linear", "attention": "hwmoe_attention"}

# A command that takes this many times its beats has stopped.
TIMEOUT_FACTOR = 50


@dataclass
class KernelCycles:
    """What one kernel did: for each image its commands, and the cycles they took."""

    cycles: list[int] = field(default_factory=list)
    images: list[list[Mapping[str, int]]] = field(default_factory=list)

    @property
    def commands(self) -> list[Mapping[str, int]]:
        """Of all images, one after the other."""
        return [command for image in self.images for command in image]


@dataclass
class RtlRun:
    """Outcome of `simulate_rtl`: counts, cycles by kernel, and the first difference if any."""

    images: int = 0
    commands: int = 0
    values: int = 0
    cycles: int = 0
    seconds: float = 0.0
    kernels: dict[str, KernelCycles] = field(default_factory=dict)
    divergence: Divergence | SimulationFault | None = None


def build_kernels(
    program: Program,
    sources: Mapping[str, list[Path]],
    build_dir: Path,
    progress: Progress,
) -> dict[str, CompiledKernel]:
    """Compile both kernels; `sources` lists the SystemVerilog files of each."""
    kernels = {}
    for done, (kernel, top) in enumerate(TOPS.items()):
        progress("building RTL simulators", done, len(TOPS))
        ports = axis_ports(widths_of(kernel, program.accelerator))
        kernels[kernel] = CompiledKernel(top, sources[kernel], *ports, build_dir / kernel)
        progress("building RTL simulators", done + 1, len(TOPS))
    return kernels


def simulate_rtl(
    program: Program,
    model: QuantizedModel,
    patches: npt.NDArray[np.int8],
    kernels: Mapping[str, CompiledKernel],
    tasks: Iterable[int],
    progress: Progress,
    stall: float = 0.0,
) -> RtlRun:
    """Run int8 patches [N, patches, K] image by image; stops at the first difference.

    Each kernel gets all commands of an image back to back, with the program's weights and the
    reference's activations; every output value and saturation count is compared.
    """
    run = RtlRun(kernels={name: KernelCycles() for name in kernels})
    pairs = [(task, image) for task in tasks for image in range(len(patches))]
    for done, (task, image) in enumerate(pairs):
        one = patches[image : image + 1]
        reference = run_reference(model, one, task, trace=True)
        assert reference.trace is not None
        cases = ModelCases(program, task, {**reference.trace, "image": one})
        for name, kernel in kernels.items():
            what = f"RTL {program_name(model, task)} image {image} {name}"
            items = cases.linear() if name == "linear" else cases.attention()
            try:
                case = stream_case(what, name, items, widths_of(name, program.accelerator)[0])
                result = _simulate(kernel, case, stall, image)
            except SimulationFault as fault:
                run.divergence = fault
                return run
            _account(run, name, items, result)
            run.divergence = _compare(what, name, cases, items, result, run) or _clipped(
                what, items, result, reference.saturations
            )
            if run.divergence:
                return run
        run.images += 1
        progress("simulating RTL", done + 1, len(pairs))
    return run


def _simulate(kernel: CompiledKernel, case: StreamCase, stall: float, seed: int) -> StreamResult:
    """All commands of an image, with a limit of cycles that only a deadlock reaches."""
    limit = 10_000 + TIMEOUT_FACTOR * sum(case.expected().values())
    return kernel.run(case, stall=stall, seed=seed, timeout_cycles=limit)


def program_name(model: QuantizedModel, task: int) -> str:
    return f"{model.config.name}/{model.config.tasks[task].name}"


def _account(run: RtlRun, name: str, items: list[KernelStep], result: StreamResult) -> None:
    stamps = result.stamps
    kernel = run.kernels[name]
    kernel.images.append([item.command for item in items])
    first, last = stamps["s_axis_cmd"][0], stamps["m_axis_status"][-1]
    kernel.cycles.append(int(last - first))
    run.cycles += result.cycles
    run.seconds += result.seconds
    run.commands += len(items)


def _compare(
    what: str,
    kernel: str,
    cases: ModelCases,
    items: list[KernelStep],
    result: StreamResult,
    run: RtlRun,
) -> Divergence | None:
    beats, at = result.outputs[f"m_axis_{SHORT[kernel]}"], 0
    for item in items:
        got: Ints = cases.decode(item, beats[at : at + item.beats])
        at += item.beats
        found = first_divergence(what, item.step.name, item.expected, got)
        if found:
            return found
        run.values += got.size
    return None


def _clipped(
    what: str, items: list[KernelStep], result: StreamResult, expected: Mapping[str, int]
) -> Divergence | None:
    """The status beats count the values that each command clipped."""
    counts = result.outputs["m_axis_status"].view("<u4").reshape(-1)
    for item, got in zip(items, counts, strict=True):
        want = np.array([expected.get(item.step.site, 0)])
        found = first_divergence(what, f"{item.step.site} saturations", want, got.reshape(1))
        if found:
            return found
    return None
