"""What an image asks of each engine, counted by hand."""

from __future__ import annotations

from collections import Counter

from small_models import small

from hwmoe.dse.bounds import Bounds, Product, bounds_of
from hwmoe.dse.objective import estimate_of
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)

PRODUCT = Product(rows=20, n_in=60, n_out=90, ternary=False, expert=False)
MODEL = small(image=(32, 28), dim=48).quantized  # 57 tokens, heads of 16


def bounds(t_out: int, t_tok: int, t_epi: int, dim_lanes: int = 4) -> Bounds:
    """Of two such products on a kernel of 16 inputs, its weights 32 bytes a beat."""
    acc = AcceleratorConfig(
        linear=LinearConfig(t_in=16, t_out=t_out, t_tok=t_tok, t_epi=t_epi, w_rows=2),
        attention=AttentionConfig(rows=16, dim_lanes=dim_lanes, head_units=1),
        layernorm=LayerNormConfig(lanes=16, max_tiles=1),
        ports=PortsConfig(port_bits=128, w_ports=2),
    )
    return bounds_of(acc, MODEL, Counter({PRODUCT: 2}), 32.0)


def test_the_linear_kernel() -> None:
    found = bounds(t_out=24, t_tok=2, t_epi=8)
    # 4 x 4 tiles, a pass of 12 beats each; 12 chunks of 20 rows, 3 of them in the last tile
    assert found.linear == 2 * max(16 * 12, 12 * 20)
    assert found.memory == 2 * (16 * 12 * 32 + 8 * 12 * 8) / 32
    # In the first tile 4 passes of 20 words instead of 12 slots, half of them not loaded ahead.
    assert found.linear_fill == 2 * (4 * 8 / 2 + 3 * 20)
    assert found.expert == found.expert_fill == 0


def test_a_wide_epilogue_drains_sooner() -> None:
    narrow, wide = (bounds(t_out=48, t_tok=2, t_epi=width) for width in (8, 16))
    assert narrow.linear_fill - wide.linear_fill == 2 * 3 * 20
    for stages in (1, 4):
        assert estimate_of(narrow, stages) > estimate_of(wide, stages)


def test_attention_waits_only_for_queries_that_are_whole_words() -> None:
    assert bounds(24, 1, 8, dim_lanes=4).attention_fill == 0
    assert bounds(24, 1, 8, dim_lanes=16).attention_fill > 0
