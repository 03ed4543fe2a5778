"""SystemVerilog of the gate kernel: widths are computed here, the templates place them."""

from __future__ import annotations

from hwmoe.codegen.render import render, sources
from hwmoe.plan.accelerator import GateConfig
from hwmoe.plan.packing import log2_ceil
from hwmoe.quant.numerics import EXP15, SHIFTS

TOP = "hwmoe_gate"
WEIGHT_LATENCY = 5  # from a distance to its weight
DIV_LATENCY = 17  # from a weight and the sum to the score
ROOM = 128  # places in the output FIFO: results of all tokens under way

WEIGHT_BITS = 15
CHOSEN_SUM_BITS = 18  # of eight weights, the most that are chosen

_PRIMITIVES = ("hwmoe_delay", "hwmoe_fifo")
_MODULES = ("hwmoe_gate_div", "hwmoe_gate_seq", "hwmoe_gate_top")


def gate_rtl(cfg: GateConfig, banner: str = "Made by hwmoe.") -> dict[str, str]:
    """File name -> text of `hwmoe_gate` with every module it needs; same text each time."""
    files = sources("rtl/lib", _PRIMITIVES) | sources("rtl/gate", _MODULES)
    files["hwmoe_gate_weight.sv"] = render(
        "rtl/gate/hwmoe_gate_weight.sv.j2", exp15=[int(v) for v in EXP15], shifts=SHIFTS
    )
    expert_w = max(1, log2_ceil(cfg.max_experts))
    files[f"{TOP}.sv"] = render(
        f"rtl/{TOP}.sv.j2",
        max_k=cfg.max_k,
        all_scores=cfg.all_scores,
        sum_w=max(CHOSEN_SUM_BITS, WEIGHT_BITS + expert_w if cfg.all_scores else 0),
        # What the cells drop of a token, the first of the next token's, and a place as reserve: a
        # full FIFO takes nothing.
        drop_depth=max(0, cfg.max_experts - cfg.max_k) + 2,
        expert_w=expert_w,
        room=ROOM,
        weight_latency=WEIGHT_LATENCY,
        div_latency=DIV_LATENCY,
        banner=banner,
    )
    return files
