"""Machines and models on which predicted cycles are compared with those of the RTL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from small_models import Small, small

from hwmoe.dse.machine_cycles import Lengths
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
)
from hwmoe.plan.compiler import schedule_only
from hwmoe.plan.fit import largest
from hwmoe.plan.program import MachineSizes, Program
from hwmoe.quant.reference import run_reference

MACHINES = {
    "one port": AcceleratorConfig(
        linear=LinearConfig(t_in=8, t_out=8, t_epi=4, w_rows=2),
        attention=AttentionConfig(rows=4, dim_lanes=4, head_units=2),
        layernorm=LayerNormConfig(lanes=4),
    ),
    "two ports": AcceleratorConfig(
        linear=LinearConfig(t_in=16, t_out=32, t_epi=8, w_rows=2),
        attention=AttentionConfig(rows=8, dim_lanes=8),
        layernorm=LayerNormConfig(lanes=8),
    ),
    "two tokens": AcceleratorConfig(
        linear=LinearConfig(t_in=16, t_out=16, t_tok=2, t_epi=16, w_rows=1),
        attention=AttentionConfig(rows=16, dim_lanes=16),
        layernorm=LayerNormConfig(lanes=16),
    ),
    "expert engine": AcceleratorConfig(
        linear=LinearConfig(t_in=16, t_out=32, t_epi=8, w_rows=2),
        expert=LinearConfig(t_in=16, t_out=24, t_epi=8, w_rows=2),
        attention=AttentionConfig(rows=8, dim_lanes=8),
        layernorm=LayerNormConfig(lanes=8),
    ),
}

_TERNARY = {"kind": "ternary"}
MODELS: tuple[dict[str, Any], ...] = (
    {},
    _TERNARY
    | {"image": (16, 16), "dim": 24, "depth": 3, "dense_hidden": 48}
    | {"expert_hidden": 24, "experts": 8, "shared_hidden": 0},
    {"image": (24, 20), "dim": 36, "heads": 2, "moe_layers": (0, 1)}
    | {"expert_hidden": 40, "experts": 4, "top_k": 1, "shared_hidden": 30},
    _TERNARY
    | {"image": (28, 28), "dim": 48, "heads": 4, "dense_hidden": 96}
    | {"experts": 6, "expert_hidden": 48, "shared_hidden": 0},
    {"image": (16, 20), "dim": 64, "heads": 4, "depth": 4, "moe_layers": (1, 3)}
    | {"dense_hidden": 128, "experts": 8, "expert_hidden": 64, "shared_hidden": 0},
    {"image": (32, 28), "dim": 32, "heads": 2, "depth": 3, "moe_layers": (2,)}
    | {"dense_hidden": 100, "experts": 4, "expert_hidden": 20},
    _TERNARY
    | {"image": (32, 32), "dim": 64, "heads": 2, "depth": 3, "moe_layers": (0, 2)}
    | {"dense_hidden": 64, "experts": 16, "top_k": 4, "expert_hidden": 32, "shared_hidden": 16},
    {"image": (12, 12), "dim": 80, "heads": 5, "moe_layers": (0,), "dense_hidden": 96}
    | {"experts": 3, "top_k": 3, "expert_hidden": 60, "shared_hidden": 0},
)


@dataclass(frozen=True)
class Case:
    """A model with `stages` images in flight, and a memory: bytes a cycle, cycles of latency."""

    model: int
    stages: int
    rate: float
    latency: int

    def __str__(self) -> str:
        return f"model{self.model}-{self.stages}stages-{self.rate:g}B-{self.latency}cycles"


CASES = (
    Case(0, 2, 8, 150),
    Case(1, 2, 16, 50),
    Case(2, 1, 4, 100),
    Case(3, 2, 32, 20),
    Case(3, 1, 6, 150),
    Case(4, 2, 64, 150),
    Case(4, 3, 12, 60),
    Case(5, 3, 8, 300),
    Case(6, 2, 2, 100),
    Case(7, 1, 20, 200),
)


def network(model: int) -> Small:
    return small(seed=model, count=6, **MODELS[model])


def staged(machine: str, stages: int) -> AcceleratorConfig:
    return MACHINES[machine].model_copy(update={"stages": stages})


def machine_for_all(machine: str) -> tuple[AcceleratorConfig, MachineSizes]:
    """A machine with memories for every case."""
    return largest(
        [schedule_only(network(c.model).quantized, staged(machine, c.stages)) for c in CASES]
    )


def lengths_of(program: Program, net: Small, tasks: Sequence[int]) -> Lengths:
    """The lists that the reference makes of the network's images."""
    found: dict[tuple[int, str, int], int] = {}
    for image, task in enumerate(tasks):
        run = run_reference(net.quantized, net.patches[image : image + 1], task, trace=True)
        assert run.trace is not None
        for name, rows in run.trace.items():
            if name.endswith(".rows"):
                _, layer, _, _, expert, _ = name.split(".")
                found[image, layer, int(expert)] = len(rows)
    layers = [step.name.split(".")[1] if "." in step.name else "" for step in program.steps]
    return lambda image, step, expert: found[image, layers[step], expert]
