"""Machines with memories larger than any of the models in these tests needs."""

from __future__ import annotations

from hwmoe.codegen.hls import HlsLimits
from hwmoe.plan.accelerator import AcceleratorConfig, AttentionConfig, LinearConfig

LIMITS = HlsLimits(
    act8_words=4096,
    act16_words=2048,
    result_words=1024,
    max_tokens=40,
    max_dim=64,
    max_experts=16,
    max_top_k=8,
)
MACHINES = {
    "plain": AcceleratorConfig(
        linear=LinearConfig(t_in=8, t_out=8, t_epi=4, max_tokens=40, x_words=2048),
        attention=AttentionConfig(rows=2, dim_lanes=4, max_tokens=40, max_dim_tiles=16),
    ),
    "odd": AcceleratorConfig(
        linear=LinearConfig(
            t_in=6, t_out=12, t_tok=2, t_epi=3, w_rows=3, max_tokens=40, x_words=2048
        ),
        attention=AttentionConfig(
            rows=3, dim_lanes=3, head_units=2, max_tokens=40, max_dim_tiles=22
        ),
    ),
}
