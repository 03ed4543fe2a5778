"""Random machines of small and medium size: kernels drawn from a pool, and recombined."""

from __future__ import annotations

import random

from pydantic import ValidationError
from resource_runs import Machine

from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    GateConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.plan.program import MachineSizes

LANES = (8, 16, 32)
TOKENS = (17, 50, 65, 129, 197)
FIXED = (
    Machine(
        AcceleratorConfig(
            linear=LinearConfig(w_rows=2),
            expert=LinearConfig(w_rows=2, t_out=8),
            gate=GateConfig(max_experts=8, max_k=2),
            ports=PortsConfig(w_ports=2),
            stages=2,
        ),
        MachineSizes(2048, 1024, 1024, 1024, 2, 8, 64, 1024),
    ),
    Machine(  # that of m3vit-tiny with ternary experts on ZCU102
        AcceleratorConfig(
            linear=LinearConfig(
                t_in=32, t_out=96, t_epi=32, w_rows=2, max_tokens=129, x_words=6192
            ),
            expert=LinearConfig(
                t_in=32, t_out=64, t_epi=32, w_rows=2, max_tokens=129, x_words=6192
            ),
            attention=AttentionConfig(rows=33, dim_lanes=16, max_tokens=129),
            layernorm=LayerNormConfig(lanes=32, max_tiles=6),
            gate=GateConfig(max_experts=16, max_k=2),
            ports=PortsConfig(w_ports=4),
            stages=4,
        ),
        MachineSizes(18576, 9288, 3870, 6192, 4, 16, 129, 1024),
    ),
)
"""Machines to fit on that are not random: a small one, and a large one."""


def machines(seed: int, count: int, pool: int) -> list[Machine]:
    """`count` machines made of `pool` lists of kernels; the same for a seed."""
    draw = random.Random(seed)
    kernels = [_kernels(draw) for _ in range(pool)]
    found: list[Machine] = []
    while len(found) < count:
        linear, expert, ports, tokens = draw.choice(kernels)[:4]
        _, _, _, _, attention = draw.choice([k for k in kernels if k[3] == tokens])
        try:
            found.append(_machine(draw, linear, expert, ports, tokens, attention))
        except (HwmoeError, ValidationError):
            continue  # widths that do not fit together
    return found


Kernels = tuple[LinearConfig, LinearConfig | None, PortsConfig, int, AttentionConfig]


def _kernels(draw: random.Random) -> Kernels:
    """Kernels that may be in one machine, by their widths."""
    while True:
        lanes, tokens = draw.choice(LANES), draw.choice(TOKENS)
        t_epi = draw.choice([n for n in (4, 8, 16) if n <= lanes])
        w_rows, port = draw.choice((1, 2, 4)), draw.choice((64, 128, 256))
        step = max(t_epi, 4 * w_rows)
        common = {"t_in": lanes, "t_epi": t_epi, "w_rows": w_rows, "max_tokens": tokens}
        beat = 8 * lanes * w_rows
        if beat % port or beat // port > 8 or 64 * t_epi < port:
            continue
        linear = LinearConfig(
            t_out=step * draw.randint(1, 64 // step),
            t_tok=draw.choice((1, 1, 2)),
            x_words=tokens * draw.randint(2, 24),
            **common,
        )
        expert = None
        if draw.random() < 0.6:
            x_words = tokens * draw.randint(2, 24)
            expert = LinearConfig(
                t_out=step * draw.randint(1, 48 // step), t_tok=1, x_words=x_words, **common
            )
        attention = AttentionConfig(
            rows=draw.randint(2, 12),
            dim_lanes=draw.choice((4, 8, 16)),
            head_units=draw.choice((1, 1, 2)),
            max_tokens=tokens,
            max_dim_tiles=draw.choice((1, 2, 4)),
        )
        return linear, expert, PortsConfig(port_bits=port, w_ports=beat // port), tokens, attention


def _machine(
    draw: random.Random,
    linear: LinearConfig,
    expert: LinearConfig | None,
    ports: PortsConfig,
    tokens: int,
    attention: AttentionConfig,
) -> Machine:
    """HwmoeError or ValidationError if these do not fit together."""
    experts, stages = draw.choice((4, 8, 16)), draw.randint(1, 4)
    norm = draw.choice((8, 16))
    acc = AcceleratorConfig(
        linear=linear,
        expert=expert,
        attention=attention,
        layernorm=LayerNormConfig(lanes=norm, max_tiles=draw.choice((6, 12, 24, 36))),
        gate=GateConfig(max_experts=experts, max_k=draw.choice((1, 2, 4))),
        ports=ports,
        stages=stages,
    )
    word = tokens * stages
    sizes = MachineSizes(
        act8_words=word * draw.randint(2, 16),
        heads_words=word * draw.randint(2, 12),
        res_words=word * draw.randint(2, 8),
        y_words=word * draw.randint(2, 8),
        slots=stages,
        max_experts=experts,
        max_tokens=tokens,
        max_steps=draw.choice((128, 512, 1024)),
    )
    machine = Machine(acc, sizes)
    assert machine.files
    return machine
