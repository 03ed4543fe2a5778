"""SystemVerilog of the LayerNorm kernel: widths are computed here, the templates place them."""

from __future__ import annotations

from hwmoe.codegen.render import render, sources
from hwmoe.plan.accelerator import LayerNormConfig
from hwmoe.plan.packing import log2_ceil

TOP = "hwmoe_layernorm"
ROW_LATENCY = 42  # from S and Q to their row result: V, normalization, square root, division
ROWS = 64  # row results in flight: above the cycles from a token's first beat until it is read
ROOM = 32  # places in the output FIFO: above the 12 stages before it and the way back

_PRIMITIVES = ("hwmoe_adder_tree", "hwmoe_delay", "hwmoe_fifo", "hwmoe_ram_sdp")
_MODULES = (
    "hwmoe_norm_credit",
    "hwmoe_norm_div",
    "hwmoe_norm_lane",
    "hwmoe_norm_line",
    "hwmoe_norm_mask",
    "hwmoe_norm_row",
    "hwmoe_norm_seq",
    "hwmoe_norm_sqrt",
    "hwmoe_norm_sums",
)
_SMALL = 64  # parameter memories up to this depth are distributed: they are wide and shallow


def settle_cycles(cfg: LayerNormConfig) -> int:
    """Cycles until the clipped values of a beat that has just left are counted in the status."""
    return log2_ceil(cfg.lanes) + 1


def layernorm_rtl(cfg: LayerNormConfig, banner: str = "Made by hwmoe.") -> dict[str, str]:
    """File name -> text of `hwmoe_layernorm` with every module it needs; same text each time."""
    files = sources("rtl/lib", _PRIMITIVES) | sources("rtl/layernorm", _MODULES)
    files[f"{TOP}.sv"] = render(f"rtl/{TOP}.sv.j2", **_sizes(cfg), banner=banner)
    return files


def _sizes(cfg: LayerNormConfig) -> dict[str, object]:
    """Everything the top's template places."""
    return {
        "lanes": cfg.lanes,
        "tiles": cfg.max_tiles,
        "tile_aw": max(1, log2_ceil(cfg.max_tiles)),
        "word_aw": log2_ceil(cfg.max_tiles + ROWS),
        "rows": ROWS,
        "room": ROOM,
        "row_latency": ROW_LATENCY,
        "count_w": 2 + log2_ceil(cfg.lanes),
        "param_block": int(cfg.max_tiles > _SMALL),
        "settle": settle_cycles(cfg),
        "lines": _lines(),
    }


def _lines() -> list[tuple[str, int, int, str, str]]:
    """Delay lines without reset: name, width, stages, source, target."""
    return [
        ("i_s_to_3", 26, 2, "s_1", "s_3"),
        ("i_r_to_4", 17, 3, "r_1", "r_4"),
        ("i_e_to_4", 5, 3, "e_1", "e_4"),
        ("i_e_to_6", 5, 2, "e_4", "e_6"),
    ]
