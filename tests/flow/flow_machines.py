"""Machines with memories larger than any of the models in these tests needs."""

from __future__ import annotations

from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    GateConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.plan.program import MachineSizes

SIZES = MachineSizes(
    act8_words=4096,
    heads_words=4096,
    res_words=2048,
    y_words=2048,
    slots=3,
    max_experts=16,
    max_tokens=40,
    max_steps=1024,
)
_GATE = GateConfig(max_experts=16, max_k=8, all_scores=True)
MACHINES = {
    "plain": AcceleratorConfig(
        linear=LinearConfig(t_in=8, t_out=8, t_epi=4, max_tokens=40, x_words=2048),
        attention=AttentionConfig(rows=2, dim_lanes=4, max_tokens=40, max_dim_tiles=16),
        layernorm=LayerNormConfig(lanes=4, max_tiles=16),
        gate=_GATE,
        ports=PortsConfig(port_bits=64, w_ports=1),
    ),
    "odd": AcceleratorConfig(
        linear=LinearConfig(
            t_in=8, t_out=12, t_tok=3, t_epi=2, w_rows=3, max_tokens=40, x_words=2048
        ),
        attention=AttentionConfig(
            rows=3, dim_lanes=2, head_units=2, max_tokens=40, max_dim_tiles=32
        ),
        layernorm=LayerNormConfig(lanes=8, max_tiles=8),
        gate=_GATE,
        ports=PortsConfig(port_bits=64, w_ports=3),
        stages=2,
    ),
    "deep": AcceleratorConfig(
        linear=LinearConfig(
            t_in=16, t_out=24, t_tok=2, t_epi=8, w_rows=2, max_tokens=40, x_words=2048
        ),
        attention=AttentionConfig(
            rows=5, dim_lanes=4, head_units=4, max_tokens=40, max_dim_tiles=16
        ),
        layernorm=LayerNormConfig(lanes=2, max_tiles=32),
        gate=_GATE,
        ports=PortsConfig(port_bits=256, w_ports=1),
        stages=3,
    ),
}
