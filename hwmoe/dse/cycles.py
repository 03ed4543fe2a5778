"""Cycles of a whole model on the two kernels, by the formulas of each kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hwmoe.dse.attention_cycles import attention_cycles
from hwmoe.dse.linear_cycles import LinearWork, linear_schedule
from hwmoe.model.config import ModelConfig
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.packing import LINEAR_FLAGS, ceil_div
from hwmoe.plan.program import Program

Command = Mapping[str, int]


@dataclass(frozen=True)
class KernelPrediction:
    """Cycles of one image on one kernel, and the useful MACs among them."""

    cycles: float
    macs: int
    macs_per_cycle: int


def linear_image(acc: AcceleratorConfig, commands: Iterable[Command]) -> int:
    """Cycles from the first command's transfer to the last status, commands back to back."""
    works = []
    for command in commands:
        flags = {n: bool(command["flags"] >> bit & 1) for bit, n in enumerate(LINEAR_FLAGS)}
        works.append(
            LinearWork(
                command["n_tok"],
                command["n_list"],
                command["in_tiles"],
                command["out_tiles"],
                command["chunks"],
                flags["load_x"],
                flags["gather"],
                flags["load_table"],
                flags["ternary"],
            )
        )
    return linear_schedule(acc.linear, works)[-1]


def attention_image(acc: AcceleratorConfig, commands: Iterable[Command]) -> int:
    """As `linear_image`, for the attention kernel, which takes a command after the last status."""
    cycles = [
        attention_cycles(acc.attention, c["n_tok"], c["dim_tiles"], c["head_groups"])
        for c in commands
    ]
    return sum(cycles) + len(cycles) - 1


def even_commands(program: Program, config: ModelConfig, task: int) -> dict[str, list[Command]]:
    """Commands of an image whose tokens spread evenly over the experts."""
    share = max(1, round(config.tokens * config.top_k / config.experts))
    found: dict[str, list[Command]] = {"linear": [], "attention": []}
    for _, step in program.of_task(task):
        fields = dict(step.fields)
        if step.kind == "linear":
            if step.result.expert is not None:
                gather = fields["flags"] >> LINEAR_FLAGS.index("gather") & 1
                fields["n_list"] = share
                fields["n_tok"] = fields["n_tok"] if gather else share
            found["linear"].append(fields)
        elif step.kind == "attention":
            units = program.accelerator.attention.head_units
            found["attention"].append({**fields, "head_groups": ceil_div(fields["heads"], units)})
    return found


def kernel_macs(config: ModelConfig) -> dict[str, int]:
    """Useful MACs of one image by kernel, without padding."""
    attention = 2 * config.depth * config.tokens**2 * config.dim
    return {"linear": config.macs - attention, "attention": attention}


def predict(
    program: Program, config: ModelConfig, images: Mapping[str, Sequence[Sequence[Command]]]
) -> dict[str, KernelPrediction]:
    """Mean cycles an image by kernel; `images[kernel]` holds the commands of each image."""
    acc, macs = program.accelerator, kernel_macs(config)
    lanes = {
        "linear": acc.linear.macs_per_cycle,
        "attention": acc.attention.macs_per_cycle,
    }
    formula = {"linear": linear_image, "attention": attention_image}
    return {
        kernel: KernelPrediction(
            sum(formula[kernel](acc, commands) for commands in runs) / len(runs),
            macs[kernel],
            lanes[kernel],
        )
        for kernel, runs in images.items()
    }
