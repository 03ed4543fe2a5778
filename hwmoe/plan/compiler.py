"""From a quantized model and a machine to a program: which tensor lies where, what runs when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.chain import Chain
from hwmoe.plan.image import IMAGE_HEADER, RESULT_ALIGN
from hwmoe.plan.layout import Tiles, sized_for
from hwmoe.plan.memory import Memory, NoMemory
from hwmoe.plan.order import merge
from hwmoe.plan.packing import LINEAR_FLAGS, pad_up
from hwmoe.plan.places import Places
from hwmoe.plan.program import MachineSizes, Program, Step
from hwmoe.plan.tokens import pack_counters, synchronize
from hwmoe.quant.quantized import QuantizedModel

MAX_STEPS = 8192
"""Their counts of clipped values fill the rest of the control registers' 64 KiB."""


def compile_model(model: QuantizedModel, accelerator: AcceleratorConfig) -> Program:
    """Schedule `model` on the machine; its memories are sized for the model."""
    return _compile(model, sized_for(accelerator, model), Memory())


def stored_bytes_of(
    model: QuantizedModel, accelerator: AcceleratorConfig
) -> dict[str, tuple[int, int]]:
    """What `compile_model` packs: bytes of weights, and of biases with scales, by operation."""
    memory = Memory()
    _compile(model, sized_for(accelerator, model), memory)
    return memory.sizes()


def schedule_only(model: QuantizedModel, accelerator: AcceleratorConfig) -> Program:
    """The steps of `compile_model` without their constants: fast, for cost formulas."""
    return _compile(model, sized_for(accelerator, model), NoMemory())


def _compile(model: QuantizedModel, acc: AcceleratorConfig, memory: Memory) -> Program:
    c, tiles = model.config, Tiles.of(acc, model)
    places = Places.of(acc, c, tiles)
    chain = Chain(model, acc, tiles, places, memory)
    for stage, layers in enumerate(np.array_split(np.arange(c.depth), acc.stages)):
        chain.stage(stage, layers.tolist())
    lengths = [len(stage) for stage in chain.stages]
    counted = max(max(lengths) * acc.stages, sum(lengths) + residuals(c))
    sizes = places.sizes(acc, c, counted)
    if sizes.max_steps > MAX_STEPS:
        raise HwmoeError(
            f"{c.name}: {max(lengths)} instructions a stage, with {acc.stages} stages more than "
            f"the {MAX_STEPS} that the machine counts; use fewer stages"
        )
    return link(chain, sizes, logit_bytes(c))


def logit_bytes(config: ModelConfig) -> int:
    """Room for the logits of any task, at the start of an image's results."""
    return pad_up(2 * max(task.classes for task in config.tasks), RESULT_ALIGN)


def residuals(config: ModelConfig) -> int:
    """Tensors of the residual stream: a machine has room for a trace's stores of them."""
    return 2 * config.depth + 1


def link(chain: Chain, sizes: MachineSizes, result_bytes: int) -> Program:
    """The program of a chain: one order for all its stages, tokens, the loop, the constants.

    `result_bytes`: of an image.
    """
    c, acc, tiles = chain.config, chain.acc, chain.tiles
    share = max(1, round(c.tokens * c.top_k / c.experts))
    order = merge(chain.stages, acc, sizes, share)
    regions = {"linear": tiles.loaded * c.tokens, "expert": tiles.expert * c.tokens}
    order = list(_kernel_state(order, regions, chain.tables))
    steps, counters = synchronize(order, acc, sizes)
    image_words = c.patches * tiles.patch
    loop = {
        "steps": len(steps),
        "stages": len(chain.stages),
        "spare": 0,
        "image_bytes": pad_up(IMAGE_HEADER + image_words * acc.linear.t_in, IMAGE_HEADER),
        "logit_bytes": result_bytes,
        **pack_counters(counters),
    }
    classes = tuple(task.classes for task in c.tasks)
    joined = chain.memory.joined()
    return Program(acc, sizes, loop, tuple(steps), classes, *joined, image_words)


def _kernel_state(
    order: list[Step], regions: Mapping[str, int], tables: Mapping[str, int]
) -> Iterator[Step]:
    """What a linear kernel keeps from command to command, decided in the final order.

    Inputs that only one command uses alternate between two `regions`, of so many words, so that the
    next is loaded while the present one is read. `tables` tells which GELU table a step needs: it
    is loaded unless the last one loaded, by this stage, is the same.
    """
    flag = {name: 1 << bit for bit, name in enumerate(LINEAR_FLAGS)}
    turn, held = dict.fromkeys(regions, 0), dict.fromkeys(regions, (-1, -1))
    for step in order:
        if step.kind not in regions:
            yield step
            continue
        fields = dict(step.fields)
        if fields["x_base"] < 0:
            fields["x_base"] = turn[step.kind] * regions[step.kind]
            turn[step.kind] = 1 - turn[step.kind]
        if step.name in tables:
            needs = (fields["stage"], tables[step.name])
            if needs != held[step.kind]:
                fields["flags"] |= flag["load_table"]
                held[step.kind] = needs
        yield replace(step, fields=fields)
