"""What it takes to measure a plan: one simulation, and one synthesis a part, as plain data."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

import hwmoe
from hwmoe.codegen.project import PROGRAM, QUANTIZED
from hwmoe.codegen.rtl_machine import TOP, machine_rtl
from hwmoe.dse.machine_cycles import MachinePrediction
from hwmoe.flow.kept import Kept
from hwmoe.flow.rtl import predict_run
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.compiler import compile_model
from hwmoe.plan.program import Program
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.sim.machine_build import bench_of
from hwmoe.sim.machine_options import MachineOptions
from hwmoe.sim.verilator import verilator_version
from hwmoe.synth.parts import needed_of, parts_of, runs_of
from hwmoe.synth.yosys import FAMILY, yosys_version

Kind = Literal["cycles", "resources"]
PATCHES = "patches.npy"
Patches = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Job:
    """One run of a tool, which can be sent anywhere.

    `files`: what it reads; `task`: what to do with them, as JSON. `key`: digest of all that its
    result depends on, so that plans which share a part share its synthesis.
    """

    kind: Kind
    what: str
    key: str
    task: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.key}"


@dataclass(frozen=True)
class PlanJobs:
    """Of one plan. `parts`: by module; none if it is not synthesized. `predicted`: of the run that
    is simulated, with the experts that its tokens choose."""

    cycles: Job
    parts: Mapping[str, Job]
    predicted: MachinePrediction

    @property
    def all(self) -> list[Job]:
        return [self.cycles, *self.parts.values()]


def tools(synthesis: bool) -> dict[Kind, str]:
    """Name and version of what measures; `HwmoeError` for a tool that is not installed."""
    found: dict[Kind, str] = {"cycles": f"Verilator {verilator_version()}"}
    return {**found, "resources": f"Yosys {yosys_version()}"} if synthesis else found


def jobs_of(
    model: QuantizedModel,
    acc: AcceleratorConfig,
    patches: Patches,
    memory: MachineOptions,
    synthesis: bool,
    uram: bool,
) -> PlanJobs:
    """Render a plan. `patches`: int8 [N, patches, K], images of the first task in one run; `uram`:
    the part has UltraRAM. `HwmoeError` if the model cannot be compiled for the machine."""
    program = compile_model(model, acc)
    rtl = machine_rtl(program.accelerator, program.sizes)
    cycles = _cycles_job(model, program, rtl, patches, memory)
    predicted = predict_run(program, model, patches, [0] * len(patches), memory)
    if not synthesis:
        return PlanJobs(cycles, {}, predicted)
    parts = parts_of(Path(name).stem for name in rtl)
    runs = {top: _part_job(rtl, top, without, uram) for top, without in runs_of(TOP, parts)}
    return PlanJobs(cycles, runs, predicted)


def _cycles_job(
    model: QuantizedModel,
    program: Program,
    rtl: Mapping[str, str],
    patches: Patches,
    memory: MachineOptions,
) -> Job:
    ports = program.accelerator.ports
    task = {
        **_task("cycles", rtl),
        "memory": asdict(memory),
    }
    constants = (program.encode(), program.params, program.weights, patches)
    key = Kept.digest(
        repr(task).encode(),
        repr(sorted(bench_of(ports.port_bits, ports.w_ports).items())).encode(),
        *(text.encode() for _, text in sorted(rtl.items())),
        *(array.tobytes() for array in constants),
    )
    with tempfile.TemporaryDirectory(prefix="hwmoe-") as name:
        folder = Path(name)
        program.save(folder / PROGRAM)
        model.save(folder / QUANTIZED)
        saved = {path.name: path.read_bytes() for path in folder.iterdir()}
    images = io.BytesIO()
    np.save(images, patches, allow_pickle=False)
    files = _encoded(rtl) | saved | {PATCHES: images.getvalue()}
    return Job("cycles", "simulation", key, task, files)


def _part_job(rtl: Mapping[str, str], top: str, without: tuple[str, ...], uram: bool) -> Job:
    inside = {name: rtl[name] for name in needed_of(rtl, top, without)}
    task = {
        **_task("resources", inside),
        "family": FAMILY,
        "top": top,
        "without": list(without),
        "uram": uram,
    }
    key = Kept.digest(repr(task).encode(), *(text.encode() for text in inside.values()))
    return Job("resources", f"synthesis of {top}", key, task, _encoded(inside))


def _task(kind: Kind, rtl: Mapping[str, str]) -> dict[str, Any]:
    """`sources`: in the order in which they are read."""
    tool = tools(kind == "resources")[kind]
    return {"kind": kind, "hwmoe": hwmoe.__version__, "tool": tool, "sources": sorted(rtl)}


def _encoded(rtl: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in rtl.items()}
