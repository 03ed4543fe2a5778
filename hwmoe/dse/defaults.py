"""A sound machine for a model on a board, until a search finds a better one."""

from __future__ import annotations

from collections.abc import Iterator

from hwmoe.dse.cycles import attention_image, even_commands, linear_image
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig, AttentionConfig, LinearConfig
from hwmoe.plan.board import Board
from hwmoe.plan.compiler import schedule_only
from hwmoe.plan.packing import ceil_div
from hwmoe.quant.quantized import QuantizedModel

DSP_SHARE = 0.9
"""Of the board's DSPs that the two kernels may use."""

ROWS = (2, 4, 8, 16)

GOOD_ENOUGH = 1.25
"""The smallest machine within this factor of the fastest is taken."""


def default_accelerator(model: QuantizedModel, board: Board) -> AcceleratorConfig:
    """The smallest of a fixed grid of machines that is nearly as fast as the fastest.

    Fast means: cycles of one image of the first task by the kernels' formulas, tokens spread
    evenly over the experts. Weight beats are as wide as the board's memory can feed.
    """
    speeds = []
    refused: HwmoeError | None = None
    budget = DSP_SHARE * board.resources.dsp
    for linear in linear_candidates(board.bytes_per_cycle):
        lanes = AttentionConfig(dim_lanes=min(16, linear.t_in))
        base = AcceleratorConfig(linear=linear, attention=lanes)
        try:
            program = schedule_only(model, base)
        except HwmoeError as error:  # a memory of the model is too large for these lanes
            refused = error
            continue
        commands = even_commands(program, model.config, 0)
        linear_cycles = linear_image(base, commands["linear"])
        for rows in ROWS:
            attention = lanes.model_copy(update={"rows": rows})
            acc = base.model_copy(update={"attention": attention})
            multipliers = multipliers_of(acc)
            if multipliers <= budget:
                cycles = linear_cycles + attention_image(acc, commands["attention"])
                speeds.append((cycles, multipliers, acc))
    if not speeds:
        too_few = HwmoeError(f"{board.name} has too few DSPs for the smallest machine")
        raise refused or too_few
    fastest = min(cycles for cycles, _, _ in speeds)
    fit = [entry for entry in speeds if entry[0] <= GOOD_ENOUGH * fastest]
    return min(fit, key=lambda entry: (entry[1], entry[0]))[2]


def multipliers_of(acc: AcceleratorConfig) -> int:
    """Multipliers of up to 27 x 18 bits in the SystemVerilog of both kernels, a DSP48E2 each.

    Linear: a MAC each, one a rescaling lane, and one for addresses of more than 7 bits (shorter
    ones are multiplied in LUTs). Attention: two query rows share the multipliers of the array; one
    for each row's index and for each lane of the output.
    """
    linear, attention = acc.linear, acc.attention
    lanes = attention.dim_lanes * attention.head_units
    array = ceil_div(attention.rows, 2) * lanes
    rescaling = attention.rows * attention.head_units + lanes
    address = int(linear.x_words > 128)
    return linear.macs_per_cycle + linear.t_epi + address + array + rescaling


def linear_candidates(bytes_per_cycle: float) -> Iterator[LinearConfig]:
    """The grid of linear kernels: lanes in powers of two."""
    for t_in in (8, 16, 32):
        w_rows = 1
        while 2 * w_rows * t_in <= bytes_per_cycle and w_rows < 4:
            w_rows *= 2
        for t_out in (16, 32, 64):
            yield LinearConfig(t_in=t_in, t_out=t_out, t_epi=8, w_rows=w_rows)
