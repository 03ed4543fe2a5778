"""How much room the tensors of a model take on a machine."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from hwmoe.errors import explain_validation
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.packing import ceil_div
from hwmoe.quant.quantized import QuantizedModel


def sized_for(accelerator: AcceleratorConfig, model: QuantizedModel) -> AcceleratorConfig:
    """The same lanes with memories just large enough for `model`.

    `HwmoeError` if the model needs more than the kernels can address.
    """
    c = model.config
    tiles = Tiles.of(accelerator, model)
    widest = max(tiles.patch, tiles.heads, tiles.dim + tiles.hidden)
    linear = accelerator.linear.model_copy(
        update={"max_tokens": c.tokens, "x_words": c.tokens * widest}
    )
    attention = accelerator.attention.model_copy(
        update={
            "max_tokens": c.tokens,
            "max_dim_tiles": ceil_div(c.head_dim, accelerator.attention.dim_lanes),
        }
    )
    sized = {"linear": linear.model_dump(), "attention": attention.model_dump()}
    try:
        return AcceleratorConfig.model_validate(sized)
    except ValidationError as error:
        raise explain_validation(f"an accelerator for {c.name}", error) from None


@dataclass(frozen=True)
class Tiles:
    """Tiles of t_in lanes that one row of each kind of tensor takes."""

    patch: int
    dim: int
    heads: int
    hidden: int
    head_stride: int

    @classmethod
    def of(cls, accelerator: AcceleratorConfig, model: QuantizedModel) -> Tiles:
        c, lanes = model.config, accelerator.linear.t_in
        stride = ceil_div(c.head_dim, accelerator.attention.dim_lanes)
        stride *= accelerator.attention.dim_lanes
        hidden = [c.shared_hidden, c.expert_hidden] if c.moe_layers else []
        if len(c.moe_layers) < c.depth:
            hidden.append(c.dense_hidden)
        return cls(
            patch=ceil_div(c.patch_size, lanes),
            dim=ceil_div(c.dim, lanes),
            heads=ceil_div(c.heads * stride, lanes),
            hidden=ceil_div(max(hidden), lanes),
            head_stride=stride,
        )
