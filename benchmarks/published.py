"""Parallelism of published designs in our cycle formulas: a table of docs/cycles.md.

    python benchmarks/published.py

Nothing is simulated; benchmarks/cycles.py says how far the formulas are from the simulation. The
model is m3vit-tiny, tokens spread evenly over the experts; the board is the ZCU102.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch

from hwmoe.dse.attention_cycles import attention_cycles
from hwmoe.dse.defaults import default_accelerator
from hwmoe.dse.gate_cycles import gate_cycles
from hwmoe.dse.layernorm_cycles import layernorm_cycles
from hwmoe.dse.linear_cycles import LinearWork, linear_schedule
from hwmoe.dse.machine_cycles import Lengths, even_lengths, predict_machine
from hwmoe.flow.bench import CALIBRATION_IMAGES, published
from hwmoe.model.data import images_for
from hwmoe.model.zoo import load_model
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
)
from hwmoe.plan.board import Board, load_board
from hwmoe.plan.compiler import schedule_only
from hwmoe.plan.packing import LINEAR_FLAGS, ceil_div
from hwmoe.plan.program import Program, Step
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import Experts, QuantizedModel

MODEL, BOARD = "m3vit-tiny", "zcu102"
STAGES = 4  # images in flight; the ternary default has as many
HEADER = (
    "| parallelism of | bits | linear | attention | MAC a cycle | as published |"
    " one step at a time | our machine, one image | images in flight |\n"
    "|---|---|---|---|--:|--:|--:|--:|--:|"
)


def main() -> int:
    torch.set_num_threads(1)
    board = load_board(BOARD)
    models = {experts: _model(experts) for experts in ("int8", "ternary")}
    print(HEADER)
    for design in published():
        known = _accelerator(design)
        name, bits = f"{design['name']}, {design['board']}", design["bits"]
        if design["model"] != "M3ViT-T":
            continue
        if known:
            staged = known.model_copy(update={"stages": STAGES})
            print(_row(name, bits, staged, models["int8"], board, design["cycles"]))
        else:
            print(f"| {name} | {bits} | not published | | | {design['cycles']:,} | | | |")
    for experts, model in models.items():
        acc = default_accelerator(model, board)
        print(_row(f"hwmoe, {BOARD}", f"W8 A8, experts {experts}", acc, model, board, None))
    return 0


def _model(experts: Experts) -> QuantizedModel:
    network = load_model(MODEL).eval()
    images = images_for(network.config)
    return quantize(network, images.calibration[:CALIBRATION_IMAGES], experts)


def _accelerator(design: Mapping[str, Any]) -> AcceleratorConfig | None:
    """A machine of ours with a design's parallelism, if that is known."""
    if "linear" not in design:
        return None
    return AcceleratorConfig(
        linear=LinearConfig(**design["linear"]),
        attention=AttentionConfig(**design["attention"]),
        layernorm=LayerNormConfig(**design["layernorm"], max_tiles=1),
    )


def _row(
    name: str,
    bits: str,
    acc: AcceleratorConfig,
    model: QuantizedModel,
    board: Board,
    cycles: int | None,
) -> str:
    single = schedule_only(model, acc.model_copy(update={"stages": 1}))
    staged = schedule_only(model, acc)
    alone = cycles_in_turn(single, even_lengths(single, model.config.top_k))
    linear = " + ".join(f"{c.t_in} x {c.t_out} x {c.t_tok}" for c in acc.linears.values())
    attention = acc.attention
    macs = sum(c.macs_per_cycle for c in acc.linears.values()) + attention.macs_per_cycle
    figures = [
        f"{cycles:,}" if cycles else "",
        f"{alone:,}",
        f"{_cycles_an_image(single, model, board):,.0f}",
        f"{_cycles_an_image(staged, model, board):,.0f} ({acc.stages})",
    ]
    lanes = f"{attention.rows} x {attention.head_units * attention.dim_lanes}"
    return f"| {name} | {bits} | {linear} | {lanes} | {macs:,} | {' | '.join(figures)} |"


def _cycles_an_image(program: Program, model: QuantizedModel, board: Board) -> float:
    """Between results, of the whole machine with the board's memory."""
    lengths = even_lengths(program, model.config.top_k)
    tasks = [0] * (3 * program.loop["stages"])
    latency = board.memory.latency_cycles
    run = predict_machine(program, board.bytes_per_cycle, latency, tasks, lengths)
    return run.cycles_per_image


def cycles_in_turn(program: Program, lengths: Lengths) -> int:
    """One image of the first task: the kernels' own cycles one after the other.

    Nothing overlaps and nothing waits for memory or tokens. Loads, stores and additions, which
    have no kernel, are left out.
    """
    return sum(_cycles(program, index, step, lengths) for index, step in program.of_task(0))


def _cycles(program: Program, index: int, step: Step, lengths: Lengths) -> int:
    acc, f = program.accelerator, step.fields
    if step.kind in acc.linears:
        mode = f["list_mode"]
        rows = lengths(0, index, f["expert"]) if mode else f["n_list"]
        flags = {name: bool(f["flags"] >> bit & 1) for bit, name in enumerate(LINEAR_FLAGS)}
        work = LinearWork(
            rows if mode == 2 else f["n_tok"],
            rows,
            f["in_tiles"],
            f["out_tiles"],
            f["chunks"],
            **{name: flags[name] for name in ("load_x", "gather", "load_table", "ternary")},
        )
        return linear_schedule(acc.linears[step.kind], [work], step.kind)[0]
    if step.kind == "attention":
        return attention_cycles(acc.attention, f["n_tok"], f["dim_tiles"], f["head_groups"])
    if step.kind == "layernorm":
        words = ceil_div(f["dim"], acc.linear.t_in) * (acc.linear.t_in // acc.layernorm.lanes)
        return layernorm_cycles(acc.layernorm, f["count"], words)
    if step.kind == "gate":
        return gate_cycles(f["n_tok"], f["experts"], f["top_k"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
