"""How much room the tensors of a model take on a machine."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from hwmoe.errors import HwmoeError, explain_validation
from hwmoe.plan.accelerator import AcceleratorConfig, LinearConfig
from hwmoe.plan.packing import ceil_div
from hwmoe.plan.program import HeadLayout
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.quantized import QuantizedModel


def sized_for(accelerator: AcceleratorConfig, model: QuantizedModel) -> AcceleratorConfig:
    """The same lanes with memories just large enough for `model`.

    `HwmoeError` if the model needs more than the kernels can address, or if the lanes do not fit
    together in a machine.
    """
    c = model.config
    _check_lanes(accelerator)
    tiles = Tiles.of(accelerator, model)
    lanes, beat = accelerator.linear.t_in, 8 * accelerator.linear.t_in * accelerator.linear.w_rows
    port = min(accelerator.ports.port_bits, beat)
    stages = min(accelerator.stages, c.depth)
    kept = stages * tiles.dim if c.moe_layers else 0
    apart = accelerator.expert is not None and has_ternary_experts(model)
    sized = {
        "linear": _linear(accelerator.linear, c.tokens, 2 * tiles.loaded + (0 if apart else kept)),
        "expert": accelerator.expert
        and _linear(accelerator.expert, c.tokens, 2 * tiles.expert + kept),
        "attention": accelerator.attention.model_dump()
        | {"max_tokens": c.tokens, "max_dim_tiles": tiles.heads_layout.dim_tiles},
        "layernorm": accelerator.layernorm.model_dump()
        | {"max_tiles": tiles.dim * (lanes // accelerator.layernorm.lanes)},
        "gate": {
            "max_experts": max(1, c.experts),
            "max_k": max(1, c.top_k),
            "all_scores": bool(c.moe_layers) and c.gate_scores == "all",
        },
        "ports": {"port_bits": port, "w_ports": beat // port},
        "stages": stages,
    }
    try:
        return AcceleratorConfig.model_validate(sized)
    except ValidationError as error:
        raise explain_validation(f"an accelerator for {c.name}", error) from None


def has_ternary_experts(model: QuantizedModel) -> bool:
    """Whether an expert engine would have work."""
    return any(
        ".experts." in name and isinstance(op, LinearParams) and op.ternary
        for name, op in model.ops.items()
    )


def _linear(cfg: LinearConfig, tokens: int, words: int) -> dict[str, int]:
    """Sized for lists of `tokens`, and activations of so many words a token."""
    return cfg.model_dump() | {"max_tokens": tokens, "x_words": max(1, tokens * words)}


def _check_lanes(acc: AcceleratorConfig) -> None:
    """`HwmoeError` with all that keeps these kernels from sharing memories."""
    lanes, bits = acc.linear.t_in, acc.ports.port_bits
    beat = acc.attention.head_units * acc.attention.dim_lanes
    weights = 8 * lanes * acc.linear.w_rows
    problems = []
    if lanes < 8 or lanes & (lanes - 1):
        problems.append(f"linear.t_in={lanes} must be a power of two, 8 or more")
    for name, value in (
        ("attention.head_units * dim_lanes", beat),
        ("layernorm.lanes", acc.layernorm.lanes),
    ):
        if lanes % value:
            problems.append(f"{name}={value} must divide linear.t_in={lanes}")
    if bits & (bits - 1):
        problems.append(f"ports.port_bits={bits} must be a power of two")
    elif weights % min(bits, weights) or min(bits, weights).bit_count() > 1:
        problems.append(
            f"a beat of weights, t_in * w_rows = {weights // 8} bytes, must be a whole number of "
            f"ports of port_bits={bits}"
        )
    if 64 * acc.linear.t_epi < min(bits, weights):
        problems.append(f"linear.t_epi={acc.linear.t_epi}: 64 bits each must fill port_bits={bits}")
    if problems:
        raise HwmoeError("accelerator:\n  " + "\n  ".join(problems))


@dataclass(frozen=True)
class Tiles:
    """Words of t_in lanes that one row of each kind of tensor takes.

    `expert` and `loaded`: the hidden tensor of an expert, and the widest input of any operation.
    """

    patch: int
    dim: int
    heads: int
    hidden: int
    expert: int
    heads_layout: HeadLayout

    @property
    def loaded(self) -> int:
        return max(self.patch, self.heads, self.dim, self.hidden, self.expert)

    @classmethod
    def of(cls, accelerator: AcceleratorConfig, model: QuantizedModel) -> Tiles:
        c, lanes, cfg = model.config, accelerator.linear.t_in, accelerator.attention
        layout = HeadLayout(c.heads, c.head_dim, cfg.dim_lanes, cfg.head_units)
        dense = c.dense_hidden if len(c.moe_layers) < c.depth else 0
        shared, expert = (c.shared_hidden, c.expert_hidden) if c.moe_layers else (0, 0)
        return cls(
            patch=ceil_div(c.patch_size, lanes),
            dim=ceil_div(c.dim, lanes),
            heads=ceil_div(layout.width, lanes),
            hidden=ceil_div(max(dense, shared), lanes),
            expert=ceil_div(expert, lanes),
            heads_layout=layout,
        )
