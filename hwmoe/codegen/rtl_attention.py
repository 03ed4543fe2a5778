"""SystemVerilog of the attention kernel: widths are computed here, the templates place them."""

from __future__ import annotations

from hwmoe.codegen.render import render, sources
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AttentionConfig
from hwmoe.plan.packing import ceil_div, log2_ceil
from hwmoe.quant.numerics import EXP7, EXP7_STEPS, SHIFTS

TOP = "hwmoe_attention"
MAX_HEAD_DIM = 2048  # a distance of scores, below 2^15 * head_dim, is a 27-bit multiplier input
P_STAGE = 7  # stages from a beat that is taken to its probability, at the multipliers
PRODUCT_STAGE = P_STAGE + 3

_PRIMITIVES = ("hwmoe_adder_tree", "hwmoe_ram_sdp", "hwmoe_skid")
_MODULES = (
    "hwmoe_attn_delay",
    "hwmoe_attn_valid",
    "hwmoe_attn_mul",
    "hwmoe_attn_score",
    "hwmoe_attn_acc",
    "hwmoe_attn_recip",
    "hwmoe_attn_row",
    "hwmoe_attn_qload",
    "hwmoe_attn_seq",
    "hwmoe_attn_scale",
    "hwmoe_attn_drain",
)


def settle_cycles(cfg: AttentionConfig) -> int:
    """Cycles from the last output beat until its clipped values are counted in the status."""
    return max(1, log2_ceil(cfg.head_units * cfg.dim_lanes) - 2)


def attention_rtl(cfg: AttentionConfig, banner: str = "Made by hwmoe.") -> dict[str, str]:
    """File name -> text of `hwmoe_attention` with every module it needs; same text each time.

    HwmoeError if the largest head dimension is beyond `MAX_HEAD_DIM`.
    """
    head_dim = cfg.dim_lanes * cfg.max_dim_tiles
    if head_dim > MAX_HEAD_DIM:
        raise HwmoeError(
            f"attention: dim_lanes * max_dim_tiles is {head_dim}, more than {MAX_HEAD_DIM}:"
            " lower max_dim_tiles"
        )
    files = sources("rtl/lib", _PRIMITIVES) | sources("rtl/attention", _MODULES)
    files["hwmoe_attn_exp7.sv"] = render(
        "rtl/attention/hwmoe_attn_exp7.sv.j2", exp7=[int(v) for v in EXP7], steps=EXP7_STEPS
    )
    files["hwmoe_attn_prob.sv"] = render("rtl/attention/hwmoe_attn_prob.sv.j2", **_rescaling())
    files[f"{TOP}.sv"] = render(f"rtl/{TOP}.sv.j2", **_sizes(cfg), banner=banner)
    return files


def _sizes(cfg: AttentionConfig) -> dict[str, object]:
    """Everything the top's template places."""
    beat_lanes = cfg.head_units * cfg.dim_lanes
    levels = log2_ceil(cfg.dim_lanes)
    tokens = max(cfg.max_tokens, cfg.rows)  # so that counters of tokens can hold `rows`
    return {
        "rows": cfg.rows,
        "dim_lanes": cfg.dim_lanes,
        "head_units": cfg.head_units,
        "beat_lanes": beat_lanes,
        "beat_bits": 8 * beat_lanes,
        "pairs": ceil_div(cfg.rows, 2),
        "tokens": tokens,
        "tiles": cfg.max_dim_tiles,
        "tok_aw": max(1, log2_ceil(tokens)),
        "tile_aw": max(1, log2_ceil(cfg.max_dim_tiles)),
        # |score| <= 2^14 * head_dim; |sum of p * v| <= 127 * 128 * tokens
        "score_w": 16 + log2_ceil(cfg.dim_lanes * cfg.max_dim_tiles),
        "acc_w": max(16, 15 + log2_ceil(cfg.max_tokens)),
        "levels": levels,
        "settle": settle_cycles(cfg),
        "p_stage": P_STAGE,
        "lines": _lines(),
        "valids": _valids(),
    }


def _rescaling() -> dict[str, object]:
    """Bit positions of the four shifts in a product whose bits below `low` never matter."""
    low = min(SHIFTS) - 1
    shifts = [
        {"shift": s, "half": f"{1 << (s - 1 - low):x}", "lsb": s - low, "msb": s - low + 7}
        for s in SHIFTS
    ]
    return {"low": low, "width": 44 - low, "shifts": shifts}


def _marks(stage: str) -> str:
    names = ("first_tile", "last_tile", "first_token", "last_token")
    return "{" + ", ".join(f"{name}_{stage}" for name in names) + "}"


def _lines() -> list[tuple[str, str, str, str, str]]:
    """Delay lines without reset: name, width, stages, source, target."""
    return [
        ("beat_line", "8*BEAT_LANES", "6", "beat_1", "beat_7"),
        ("marks_to_7", "4", "6", _marks("1"), _marks("7")),
        ("marks_to_10", "4", "3", _marks("7"), _marks("10")),
        ("marks_to_dot", "4", "LEVELS", _marks("10"), _marks("dot")),
        ("mark_to_score", "1", "1", "first_token_dot", "first_token_score"),
        ("tile_to_6", "TILE_AW", "5", "tile_1", "tile_6"),
        ("tile_to_10", "TILE_AW", "4", "tile_6", "tile_10"),
        ("tile_to_11", "TILE_AW", "1", "tile_10", "tile_11"),
        ("token_to_score", "TOK_AW", "LEVELS + 10", "token_1", "token_score"),
    ]


def _valids() -> list[tuple[str, str, str, str]]:
    """Delay lines of valid bits: name, stages, source, target."""
    return [
        ("v_to_7", "6", "v_1", "v_7"),
        ("v_to_10", "3", "v_7", "v_10"),
        ("v_to_page", "1", "v_10 & last_token_10", "page_we"),
        ("v_to_finish", "1", "v_7 & last_tile_7 & last_token_7", "finish"),
        ("k_to_dot", "LEVELS + 9", "k_1", "k_dot"),
        ("k_to_score", "1", "k_dot & last_tile_dot", "score_we"),
    ]
