"""SystemVerilog of the gate kernel: widths are computed here, the templates place them."""

from __future__ import annotations

from hwmoe.codegen.render import render, sources
from hwmoe.plan.accelerator import GateConfig
from hwmoe.quant.numerics import EXP15, SHIFTS

TOP = "hwmoe_gate"
WEIGHT_LATENCY = 5  # from a distance to its weight
DIV_LATENCY = 17  # from a weight and the sum to the score
ROOM = 128  # places in the output FIFO: results of all tokens under way

_PRIMITIVES = ("hwmoe_delay", "hwmoe_fifo")
_MODULES = ("hwmoe_gate_div", "hwmoe_gate_seq", "hwmoe_gate_top")


def gate_rtl(cfg: GateConfig, banner: str = "Made by hwmoe.") -> dict[str, str]:
    """File name -> text of `hwmoe_gate` with every module it needs; same text each time."""
    files = sources("rtl/lib", _PRIMITIVES) | sources("rtl/gate", _MODULES)
    files["hwmoe_gate_weight.sv"] = render(
        "rtl/gate/hwmoe_gate_weight.sv.j2", exp15=[int(v) for v in EXP15], shifts=SHIFTS
    )
    files[f"{TOP}.sv"] = render(
        f"rtl/{TOP}.sv.j2",
        max_k=cfg.max_k,
        expert_w=max(1, (cfg.max_experts - 1).bit_length()),
        room=ROOM,
        weight_latency=WEIGHT_LATENCY,
        div_latency=DIV_LATENCY,
        banner=banner,
    )
    return files
