"""Random models, the programs made of them, and the two machines that run them all."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from small_models import Small, small

from hwmoe.codegen.rtl_machine import machine_rtl
from hwmoe.model.data import images_for
from hwmoe.model.zoo import load_model
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.plan.compiler import compile_model
from hwmoe.plan.fit import largest
from hwmoe.plan.program import MachineSizes, Program
from hwmoe.plan.trace import TraceProgram, trace_program
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import Experts, QuantizedModel
from hwmoe.quant.reference import run_reference
from hwmoe.sim.divergence import Divergence, first_divergence
from hwmoe.sim.machine import Machine

LANES = {
    "narrow": AcceleratorConfig(
        linear=LinearConfig(t_in=8, t_out=8, t_tok=2, t_epi=4, w_rows=2),
        attention=AttentionConfig(rows=3, dim_lanes=4, head_units=2),
        layernorm=LayerNormConfig(lanes=4),
        ports=PortsConfig(port_bits=64),
    ),
    "wide": AcceleratorConfig(
        linear=LinearConfig(t_in=16, t_out=24, t_epi=8, w_rows=1),
        attention=AttentionConfig(rows=4, dim_lanes=8),
        layernorm=LayerNormConfig(lanes=16),
        ports=PortsConfig(port_bits=128),
    ),
    "apart": AcceleratorConfig(
        linear=LinearConfig(t_in=16, t_out=16, t_epi=8, w_rows=2),
        expert=LinearConfig(t_in=16, t_out=24, t_tok=2, t_epi=8, w_rows=2),
        attention=AttentionConfig(rows=2, dim_lanes=8),
        layernorm=LayerNormConfig(lanes=8),
        ports=PortsConfig(port_bits=64),
    ),
}
KINDS: tuple[Experts, ...] = ("int8", "ternary")

SHAPES: dict[str, dict[str, Any]] = {
    "two tokens": {"image": (3, 4), "patch": (3, 4)},
    "patches of a pixel": {"image": (4, 3), "patch": (1, 1), "channels": 1},
    "twenty tokens": {"image": (1, 19), "patch": (1, 1), "depth": 1},
    "one expert": {"experts": 1, "top_k": 1, "moe_layers": (0,)},
    "every expert": {"experts": 5, "top_k": 5, "moe_layers": (0,)},
    "experts without tokens": {
        "experts": 8, "top_k": 1, "image": (2, 2), "patch": (2, 1), "moe_layers": (0,),
    },
    "dim of one": {"dim": 1, "heads": 1},
    "heads of one": {"dim": 9, "heads": 9},
    "all layers moe": {
        "depth": 3, "moe_layers": (0, 1, 2), "experts": 4, "top_k": 2, "shared_hidden": 0,
    },
    "no layer moe": {"moe_layers": ()},
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Case:
    """A model, what to do with it, and how many images: fewer than `stages` in some cases.

    `loud`: multipliers so large that values clip.
    """

    name: str
    machine: str
    kind: Experts
    stages: int
    seed: int
    images: int
    loud: bool
    changes: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def tasks(self) -> list[int]:
        """Of each image; mixed."""
        rng = np.random.default_rng(self.seed)
        return rng.integers(0, len(self.net.config.tasks), self.images).tolist()

    @cached_property
    def net(self) -> Small:
        shape = drawn(self.seed) | self.changes
        return small(self.kind, seed=self.seed, count=max(self.images, 2), **shape)

    @cached_property
    def model(self) -> QuantizedModel:
        return louder(self.net.quantized) if self.loud else self.net.quantized

    @cached_property
    def patches(self) -> npt.NDArray[np.int8]:
        return self.net.patches[: self.images]

    @cached_property
    def program(self) -> Program:
        lanes = LANES[self.machine]
        return compile_model(self.model, lanes.model_copy(update={"stages": self.stages}))


def drawn(seed: int) -> dict[str, Any]:
    """A random shape of at most 20 tokens."""
    rng = np.random.default_rng(seed)

    def draw(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    heads, depth, experts = draw(1, 5), draw(1, 3), draw(1, 8)
    patch, rows = (draw(1, 4), draw(1, 4)), draw(1, 5)
    columns = draw(1, min(6, 19 // rows))
    classes = rng.choice(np.arange(1, 25), draw(1, 3), replace=False)
    return {
        "channels": draw(1, 3),
        "patch": patch,
        "image": (patch[0] * rows, patch[1] * columns),
        "dim": heads * draw(1, 10),
        "heads": heads,
        "depth": depth,
        "dense_hidden": draw(1, 50),
        "moe_layers": tuple(layer for layer in range(depth) if rng.random() < 0.6),
        "experts": experts,
        "top_k": draw(1, experts),
        "expert_hidden": draw(1, 40),
        "shared_hidden": draw(0, 1) * draw(1, 40),
        "tasks": [{"name": f"t{i}", "classes": int(n)} for i, n in enumerate(classes)],
    }


def louder(model: QuantizedModel) -> QuantizedModel:
    """Multipliers four times as large, gates aside, so that values clip."""
    ops = dict(model.ops)
    for name, p in ops.items():
        if isinstance(p, LinearParams) and ".gate." not in name:
            larger = np.minimum(4 * p.multiplier.astype(np.int64), 2**17 - 1)
            ops[name] = replace(p, multiplier=larger.astype(np.int32))
    return replace(model, ops=ops)


def _cases() -> Iterator[Case]:
    for seed in range(92):
        machine, kind = list(LANES)[seed % 3], KINDS[seed // 2 % 2]
        stages = 1 + seed // 4 % 3
        # The gate of one of the machines has the softmax over the chosen only.
        changes = {"gate_scores": "all"} if machine != "wide" and seed // 3 % 2 else {}
        yield Case(f"{seed}", machine, kind, stages, seed, 2 + seed % 4, seed % 3 == 0, changes)
    for number, (name, changes) in enumerate(SHAPES.items()):
        for turn, machine in enumerate(LANES):
            kind, seed = KINDS[(number + turn) % 2], 200 + number
            shape = {"moe_layers": (), "depth": 2} | changes
            yield Case(f"{name}, {machine}", machine, kind, 3, seed, 1 + turn, False, shape)


CASES = list(_cases())


def traced(case: Case) -> TraceProgram:
    """The program that stores its residuals, for the machine of its main program."""
    return trace_program(case.model, case.program.accelerator, case.program)


def stored_divergence(
    trace: TraceProgram,
    model: QuantizedModel,
    results: npt.NDArray[np.uint8],
    patches: npt.NDArray[np.int8],
    tasks: Sequence[int],
) -> Divergence | None:
    """The first stored tensor of any image that is not the reference's."""
    for image, (task, own) in enumerate(zip(tasks, results.reshape(len(tasks), -1), strict=True)):
        expected = run_reference(model, patches[image : image + 1], task, trace=True).trace
        assert expected is not None
        stored = trace.read(own, task)
        assert len(stored) == 2 * model.config.depth + 1
        for name, tensor in stored.items():
            found = first_divergence(f"stored, image {image}", name, expected[name][0], tensor)
            if found:
                return found
    return None


@cache
def digits(kind: Experts) -> tuple[QuantizedModel, npt.NDArray[np.int8]]:
    """The trained digits, and the patches of all images to test on."""
    network = load_model("digits").eval()
    images = images_for(network.config)
    model = quantize(network, images.calibration[:64], kind)
    return model, model.quantize_images(images.test)


def digits_program(model: QuantizedModel, machine: str = "wide") -> Program:
    return compile_model(model, LANES[machine].model_copy(update={"stages": 2}))


@cache
def sizes_of(name: str) -> tuple[AcceleratorConfig, MachineSizes]:
    """Large enough for all cases, and no larger."""
    programs = [case.program for case in CASES if case.machine == name]
    if name != "narrow":
        programs += [digits_program(digits(kind)[0], name) for kind in KINDS]
    return largest(programs)


def build(
    acc: AcceleratorConfig,
    sizes: MachineSizes,
    folder: Path,
    optimize: str = "-O1",
    make: Callable[[AcceleratorConfig, MachineSizes], dict[str, str]] = machine_rtl,
) -> Machine:
    """The machine of the sources that `make` gives; one process builds it, others wait for it."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files = make(acc, sizes)
        for name, text in files.items():
            (folder / name).write_text(text)
        sources = [folder / name for name in files]
        return Machine(sources, acc.ports.port_bits, acc.ports.w_ports, folder, optimize=optimize)
