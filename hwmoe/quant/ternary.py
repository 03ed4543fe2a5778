"""Ternary weights: codes in {-1, 0, 1} and a scale per output channel.

Ternary Weight Networks (Li et al., 2016), section 3: the threshold 0.7 * mean|w| is close to
the one that minimises the squared error, and the best scale is the mean of the kept |w|.
"""

from __future__ import annotations

import torch
from torch import Tensor

THRESHOLD = 0.7


def ternarize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (int8 [..., out, in], values -1, 0, 1) and scales ([..., out], dtype of ``weight``).

    ``codes * scale`` approximates ``weight`` [..., out, in] (floating). A channel whose weights
    are all zero has codes 0 and scale 1. Raises `ValueError` for fewer than two dimensions.
    Thresholds and scales are computed in float64 whatever the dtype, so that training and the
    quantizer, which is given float64, choose the same codes.
    """
    if weight.ndim < 2:
        raise ValueError(f"ternarize takes [..., out, in], not {list(weight.shape)}")
    size = weight.detach().double().abs()
    kept = size > THRESHOLD * size.mean(dim=-1, keepdim=True)
    count = kept.sum(dim=-1)
    scale = (size * kept).sum(dim=-1) / count.clamp(min=1)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    codes = torch.where(kept, torch.sign(weight.detach()), 0.0)
    return codes.to(torch.int8), scale.to(weight.dtype)


def fake_ternary(weight: Tensor) -> Tensor:
    """``weight`` [..., out, in] rounded to its ternary values, with a straight-through gradient."""
    codes, scale = ternarize(weight)
    rounded = codes.to(weight.dtype) * scale.unsqueeze(-1)
    # In this order the value is the rounded one to the last bit: the difference is exactly 0.
    return rounded + (weight - weight.detach())
