"""Channels of unlike size made alike before quantization, without changing what a model computes.

A tensor has one scale, so a few large channels leave few levels to the others. Here channel j of
a LayerNorm's result becomes ``(x_j - m_j) / r_j``: gamma and beta take the division, the columns
of the next weights the factor, their bias the offset (RepQ-ViT, Li et al. 2023). How
much of the spread is moved into weights is chosen a tensor by an estimate of the noise, over
``r = c^a / w^b`` (SmoothQuant, Xiao et al. 2023, has a = 1 - b). Values of attention
are equalized against the output projection in the same way, queries against keys in closed form
(Nagel et al. 2019, cross-layer equalization). The integer machine does not notice.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hwmoe.model.vit import Block, MoEViT
from hwmoe.quant.statistics import Channels

Floats = npt.NDArray[np.float64]

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SMALLEST = 1e-3
"""Of the largest magnitude: channels smaller than this are not enlarged any further."""


@dataclass(frozen=True, eq=False)
class Equalized:
    """The model with equal channels, and how to read its tensors as those of the first one.

    folded: by traced name float64 [2, D], factor and offset: ``first = equalized * f[0] + f[1]``.
    """

    model: MoEViT
    folded: dict[str, Floats]


def best_factors(spread: Floats, power: Floats, weight: Floats) -> Floats:
    """r [K] for activations of half range `spread` [K] and mean square `power` [K].

    Minimizes the expected noise of ``weight`` [N, K] times the activations, each rounded to int8:
    uniform noise of a tensor's step, and of each output channel's step.
    """
    columns = np.abs(weight).max(axis=0)
    columns = np.maximum(columns, SMALLEST * columns.max()) if columns.any() else columns + 1
    spread = np.maximum(spread, SMALLEST * spread.max()) if spread.any() else spread + 1

    def noise(factors: Floats) -> float:
        scaled = weight * factors
        activation = float((spread / factors).max() ** 2) * float((scaled**2).sum())
        rows = float((np.abs(scaled).max(axis=1) ** 2).sum())
        return activation + rows * float((power / factors**2).sum())

    tried = []
    for a, b in itertools.product(STRENGTHS, STRENGTHS):
        factors = spread**a / columns**b
        tried.append(factors / np.exp(np.log(factors).mean()))
    return min(tried, key=noise)


def equalize(model: MoEViT, seen: Mapping[str, Channels], keep_experts: bool) -> Equalized:
    """A changed copy of `model`; `seen` are the channels of its calibration.

    With `keep_experts` the input of routed experts stays as it is: ternary weights were trained
    on it. Gates have no bias, so the input of a MoE layer gets factors but no offset.
    """
    # The configuration is frozen and a transform a function: only weights are copied.
    new = copy.deepcopy(model)
    folded: dict[str, Floats] = {}
    with torch.no_grad():
        for layer, block in enumerate(cast("list[Block]", new.blocks)):
            name = f"blocks.{layer}"
            _attention(block, name, seen, folded)
            _norm(block.norm1, f"{name}.norm1", [block.qkv], [], seen, folded)
            if not block.is_moe:
                _norm(block.norm2, f"{name}.norm2", [block.mlp.fc1], [], seen, folded)
            elif not keep_experts:
                plain: list[Tensor] = [block.moe.fc1.weight, block.moe.gate]
                if block.moe.shared is not None:
                    plain.append(block.moe.shared.fc1.weight)
                _norm(block.norm2, f"{name}.norm2", [], plain, seen, folded)
        _norm(new.norm, "norm", list(cast("list[nn.Linear]", new.heads)), [], seen, folded)
    return Equalized(new, folded)


def _array(value: Tensor) -> Floats:
    return value.detach().numpy().astype(np.float64)


def _tensor(value: Floats) -> Tensor:
    return torch.from_numpy(value.astype(np.float32))


def _norm(
    norm: nn.LayerNorm,
    name: str,
    linears: Sequence[nn.Linear],
    plain: Sequence[Tensor],
    seen: Mapping[str, Channels],
    folded: dict[str, Floats],
) -> None:
    """Change one LayerNorm and what reads it: `linears` with a bias, `plain` [..., K] without."""
    channels = seen[name]
    offset = np.zeros_like(channels.low) if plain else (channels.low + channels.high) / 2
    spread = channels.magnitude if plain else (channels.high - channels.low) / 2
    weights = [*plain, *(linear.weight for linear in linears)]
    stacked = np.concatenate([_array(w).reshape(-1, w.shape[-1]) for w in weights])
    factors = best_factors(spread, channels.power, stacked)
    for linear in linears:
        linear.bias.add_(_tensor(_array(linear.weight) @ offset))
    for weight in weights:
        weight.mul_(_tensor(factors))
    norm.weight.div_(_tensor(factors))
    norm.bias.sub_(_tensor(offset)).div_(_tensor(factors))
    folded[name] = np.stack([factors, offset])


def _attention(
    block: Block, name: str, seen: Mapping[str, Channels], folded: dict[str, Floats]
) -> None:
    """Queries against keys, values against the output projection."""
    q, k = (np.maximum(seen[f"{name}.{part}"].magnitude, 1e-9) for part in "qk")
    balance = np.clip(np.sqrt(q / k), SMALLEST, 1 / SMALLEST)
    attn = seen[f"{name}.attn"]
    value = best_factors(attn.magnitude, attn.power, _array(block.proj.weight))
    factors = np.concatenate([balance, 1 / balance, value])
    block.qkv.weight.div_(_tensor(factors)[:, None])
    block.qkv.bias.div_(_tensor(factors))
    block.proj.weight.mul_(_tensor(value))
    folded[f"{name}.qkv"] = np.stack([factors, np.zeros_like(factors)])
    folded[f"{name}.attn"] = np.stack([value, np.zeros_like(value)])
