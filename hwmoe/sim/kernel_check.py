"""A kernel on the real layers of a model: every command of some images, against the reference."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwmoe.codegen.rtl_attention import attention_rtl
from hwmoe.codegen.rtl_linear import linear_rtl
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.program import Program
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference
from hwmoe.sim.compiled import CompiledKernel, Progress
from hwmoe.sim.compiled_build import Ports
from hwmoe.sim.divergence import Divergence, SimulationFault, first_divergence
from hwmoe.sim.kernel_cases import SHORT, axis_ports, widths_of
from hwmoe.sim.model_cases import KernelStep, ModelCases, stream_case
from hwmoe.sim.streams import StreamCase, StreamResult, progress_table

KERNELS = ("linear", "attention")
"""Those that Vitis HLS makes from a source of their own."""


@dataclass(frozen=True)
class Work:
    """Commands of a kernel for one image and task; `clipped`: the counts the reference has."""

    name: str
    cases: ModelCases
    steps: Sequence[KernelStep]
    clipped: Sequence[int]


@dataclass(frozen=True)
class KernelRun:
    """`divergence`: the first, if any; nothing is simulated after it. `cycles`: of all commands."""

    divergence: Divergence | None
    tensors: int
    values: int
    cycles: int
    seconds: float


def ports_of_kernel(kernel: str, acc: AcceleratorConfig) -> Ports:
    """Streams of the kernel on this machine."""
    return Ports(*axis_ports(widths_of(kernel, acc)))


def own_sources(kernel: str, acc: AcceleratorConfig) -> list[str]:
    """Names of the files of our own kernel in the folder `rtl` of a project."""
    return sorted(linear_rtl(acc.linear) if kernel == "linear" else attention_rtl(acc.attention))


def work_of(
    kernel: str,
    program: Program,
    model: QuantizedModel,
    patches: npt.NDArray[np.int8],
    tasks: Sequence[int],
) -> list[Work]:
    """patches int8 [images, rows, lanes]: all commands of the kernel, image by image."""
    found = []
    for image in range(len(patches)):
        for task in tasks:
            own = patches[image : image + 1]
            run = run_reference(model, own, task, trace=True)
            assert run.trace is not None
            cases = ModelCases(program, task, {**run.trace, "image": own})
            steps = cases.linear() if kernel == "linear" else cases.attention()
            clipped = [run.saturations.get(step.step.site, 0) for step in steps]
            found.append(Work(f"image {image}, task {task}", cases, steps, clipped))
    return found


def run_kernel(
    kernel: str,
    bench: CompiledKernel,
    work: Sequence[Work],
    acc: AcceleratorConfig,
    stall: float = 0.0,
    seed: int = 0,
    limit: int = 1_000_000_000,
    seconds: float = 3600.0,
) -> KernelRun:
    """All of `work`, each from reset. `limit`: cycles of one. `SimulationFault` if it misbehaves or
    takes longer than `limit` or `seconds`."""
    started, cycles, tensors, values = time.monotonic(), 0, 0, 0
    widths = widths_of(kernel, acc)[0]
    for item in work:
        case = stream_case(f"{kernel}, {item.name}", kernel, item.steps, widths)
        watch = _until(case, started + seconds, seconds)
        result = bench.run(case, stall, seed, limit, watch)
        cycles += result.cycles
        divergence = _compare(kernel, item, result)
        tensors += len(item.steps)
        values += sum(step.expected.size for step in item.steps)
        if divergence:
            return KernelRun(divergence, tensors, values, cycles, time.monotonic() - started)
    return KernelRun(None, tensors, values, cycles, time.monotonic() - started)


def _until(case: StreamCase, deadline: float, seconds: float) -> Progress:
    """Ends a run that goes on after `deadline` (of time.monotonic)."""

    def watch(cycle: int, done: Mapping[str, int]) -> None:
        if time.monotonic() > deadline:
            raise SimulationFault(
                f"case '{case.name}' did not finish within {seconds:g} s: stopped in cycle {cycle}."
                f" Beats transferred:\n{progress_table(case, done)}"
            )

    return watch


def _compare(kernel: str, work: Work, result: StreamResult) -> Divergence | None:
    """Tensor by tensor, then the number of values that each command clipped."""
    beats, at = result.outputs[f"m_axis_{SHORT[kernel]}"], 0
    for step in work.steps:
        if not step.beats:
            continue
        got = work.cases.decode(step, beats[at : at + step.beats])
        at += step.beats
        if found := first_divergence(work.name, step.step.name, step.expected, got):
            return found
    status = result.outputs["m_axis_status"].view("<u4").reshape(-1)
    names, expected = [step.step.name for step in work.steps], np.array(work.clipped)
    for name, want, got in zip(names, expected, status, strict=True):
        if found := first_divergence(work.name, f"{name}: clipped", want[None], got[None]):
            return found
    return None
