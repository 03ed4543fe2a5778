"""Random machines, models and memories: cycles of whole runs, predicted and simulated.

Every logit and count of clipped values of every run is compared with the integer reference too.
One machine serves many programs, as it is built with memories for the largest of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from cycles_results import Sample, sources_of, within
from pydantic import ValidationError

from hwmoe.codegen.rtl_machine import machine_rtl
from hwmoe.dse.machine_cycles import MachinePrediction, predict_machine
from hwmoe.errors import HwmoeError
from hwmoe.flow.kept import Kept
from hwmoe.model.config import ModelConfig
from hwmoe.model.zoo import seeded_model
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.plan.compiler import compile_model
from hwmoe.plan.fit import largest
from hwmoe.plan.program import Program
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.sim.machine import Machine
from hwmoe.sim.machine_build import library_path
from hwmoe.sim.machine_options import MachineOptions
from hwmoe.sim.routing import routed_lengths
from hwmoe.sim.whole_model import machine_memory, simulate_model

Random = np.random.Generator
CLOSE, FEW = 0.03, 0.0  # of the simulated cycles
OPTIMIZE = "-O1"
SECONDS = 600.0  # of one run
MOST_MACS = 768  # a cycle; more take long to build
MACHINE, PROGRAM = 100, 101  # streams of random numbers


@dataclass(frozen=True)
class Case:
    """A program and the run it is measured in."""

    name: str
    model: QuantizedModel
    program: Program
    patches: npt.NDArray[np.int8]
    tasks: list[int]
    options: MachineOptions

    @cached_property
    def predicted(self) -> MachinePrediction:
        options = self.options
        lengths = routed_lengths(self.program, self.model, self.patches, self.tasks)
        latency = options.latency + options.jitter / 2
        rate = options.bytes_per_cycle
        return predict_machine(self.program, rate, latency, self.tasks, lengths)

    def key(self, machine: str) -> str:
        """Of the simulator, all bytes of the memory, and how the memory behaves."""
        memory = machine_memory(self.program, self.patches, self.tasks)
        what = f"{machine} {self.options} {self.tasks} {memory.regions}"
        return Kept.digest(what.encode(), memory.data.tobytes())


def machine_samples(
    entropy: int, machines: int, programs: int, rates: tuple[float, float], kept: Kept
) -> Iterator[tuple[list[Sample], list[Sample]]]:
    """First images and cycles between images of one machine after the other.

    Their memories have so many bytes a cycle, from `rates[0]` to `rates[1]`.
    """
    for number in range(machines):
        acc = random_machine(np.random.default_rng([entropy, MACHINE, number]))
        cases = [
            random_case(np.random.default_rng([entropy, PROGRAM, number, program]), acc, rates)
            for program in range(programs)
        ]
        first, steady = [], []
        allowed = within(CLOSE, FEW)
        for case, found in zip(cases, _simulated(cases, kept), strict=True):
            what = f"machine {number}, {case.name}"
            mine = case.predicted
            first.append(Sample(what, mine.latency, found["latency"], allowed))
            steady.append(Sample(what, mine.cycles_per_image, found["steady"], allowed))
        yield first, steady


def _simulated(cases: list[Case], kept: Kept) -> list[dict[str, float]]:
    """Cycles of each, on a machine that is built when the first is not kept yet."""
    acc, sizes = largest([case.program for case in cases])
    sources, ports = sources_of(machine_rtl(acc, sizes), kept.folder), acc.ports
    machine = library_path(sources, ports.port_bits, ports.w_ports, kept.folder, OPTIMIZE)
    built: list[Machine] = []

    def run(case: Case) -> dict[str, float]:
        if not built:
            bits, count = ports.port_bits, ports.w_ports
            built.append(Machine(sources, bits, count, kept.folder, optimize=OPTIMIZE))
        whole = simulate_model(
            case.program,
            case.model,
            built[0],
            case.patches,
            case.tasks,
            case.options,
            seconds=SECONDS,
        )
        if whole.divergence:
            raise HwmoeError(f"{case.name}: {whole.divergence}")
        return {"latency": whole.latency, "steady": whole.cycles_per_image}

    key = machine.parent.name
    return [kept.get(f"machine-{case.key(key)}", lambda c=case: run(c)) for case in cases]


def random_machine(rng: Random) -> AcceleratorConfig:
    """Lanes that fit together, of any proportion."""

    def pick(*values: int) -> int:
        return int(rng.choice(values))

    while True:
        t_in, w_rows, t_epi = pick(8, 16, 16, 32), pick(1, 1, 2, 4), pick(4, 8, 16)
        beat = 8 * t_in * w_rows
        port = min(pick(64, 128, 256), beat)
        linear = {"t_in": t_in, "t_epi": t_epi, "w_rows": w_rows}
        try:
            acc = AcceleratorConfig(
                linear=LinearConfig(t_out=8 * pick(1, 2, 3, 4, 6), t_tok=pick(1, 1, 2), **linear),
                expert=LinearConfig(t_out=8 * pick(1, 2, 3, 4), t_tok=pick(1, 1, 2), **linear)
                if rng.random() < 0.4
                else None,
                attention=AttentionConfig(
                    rows=int(rng.integers(2, 17)),
                    dim_lanes=pick(4, 8, 16),
                    head_units=pick(1, 1, 2),
                ),
                layernorm=LayerNormConfig(lanes=pick(4, 8, 16), max_tiles=1),
                ports=PortsConfig(port_bits=port, w_ports=beat // port),
            )
            macs = sum(kernel.macs_per_cycle for kernel in acc.linears.values())
            if macs <= MOST_MACS and 64 * t_epi >= port:
                _compiled(np.random.default_rng(0), acc)
                return acc
        except (ValidationError, HwmoeError):
            continue


def random_case(rng: Random, acc: AcceleratorConfig, rates: tuple[float, float]) -> Case:
    """A model whose gates prefer some experts, a memory, and images of mixed tasks."""
    model, program, stages = _compiled(rng, acc)
    c = model.config
    count = 2 * stages + int(rng.integers(2, 5))
    images = rng.random((count, c.channels, *c.image), np.float32)
    rate = 2 ** rng.uniform(*map(math.log2, rates))
    options = MachineOptions(
        bytes_per_cycle=round(float(rate), 2),
        latency=(latency := int(rng.integers(10, 300))),
        write_latency=latency,
        seed=int(rng.integers(1000)),
    )
    tasks = rng.integers(0, len(c.tasks), count).tolist()
    moe = f"{c.top_k} of {c.experts} {model.experts}" if c.moe_layers else "no"
    name = (
        f"{c.tokens} tokens of {c.dim}, {c.depth} layers, {moe} experts, {stages} stages,"
        f" {options.bytes_per_cycle:g} bytes a cycle, latency {latency}"
    )
    return Case(name, model, program, model.quantize_images(images), tasks, options)


def _compiled(rng: Random, acc: AcceleratorConfig) -> tuple[QuantizedModel, Program, int]:
    config = ModelConfig.parse(_geometry(rng), "benchmark")
    network = seeded_model(config, int(rng.integers(1 << 30)))
    _prefer(network, rng)
    images = rng.random((4, config.channels, *config.image), np.float32)
    model = quantize(network, images, "ternary" if rng.random() < 0.5 else "int8")
    stages = min(int(rng.integers(1, 4)), config.depth)
    staged = acc.model_copy(update={"stages": stages})
    return model, compile_model(model, staged), stages


def _prefer(network: torch.nn.Module, rng: Random) -> None:
    """Gates scaled row by row: some experts are chosen more often, some never."""
    for name, value in network.named_parameters():
        if name.endswith(".gate"):
            scale = rng.uniform(0.2, 3, (*value.shape[:-1], 1)).astype(np.float32)
            value.data *= torch.from_numpy(scale)


def _geometry(rng: Random) -> dict[str, Any]:
    """A random shape, from a few hundred to some ten thousand cycles an image."""

    def draw(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    heads, depth, experts = draw(1, 5), draw(1, 4), draw(1, 16)
    rows, columns = draw(2, 8), draw(2, 8)
    return {
        "name": "random",
        "channels": draw(1, 3),
        "patch": (4, 4),
        "image": (4 * rows, 4 * columns),
        "dim": heads * draw(4, 20),
        "heads": heads,
        "depth": depth,
        "dense_hidden": draw(8, 200),
        "moe_layers": tuple(layer for layer in range(depth) if rng.random() < 0.6),
        "experts": experts,
        "top_k": draw(1, min(experts, 4)),
        "expert_hidden": draw(8, 100),
        "shared_hidden": draw(0, 1) * draw(8, 60),
        "tasks": [{"name": f"t{i}", "classes": draw(1, 24)} for i in range(draw(1, 3))],
    }
