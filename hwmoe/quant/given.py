"""Quantizer scales that came with a model (QONNX), used in place of our own where they fit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from torch import Tensor

from hwmoe.quant.calibrate import Ranges

Floats = npt.NDArray[np.float64]

ON_GRID = 1e-2
"""Steps that a weight may lie beside its grid: rounding is far below, training far above."""


def use_given_ranges(ranges: Ranges, scales: Mapping[str, Tensor]) -> set[str]:
    """Set the range of every activation that has a scale; which have."""
    sites = [site for site in ranges.limits if site in scales and scales[site].numel() == 1]
    for site in sites:
        ranges.limits[site] = float(scales[site]) * 127
    return set(sites)


def given_weight_scale(weight: Floats, scale: Floats | None) -> Floats | None:
    """``scale`` [N], if every weight [N, K] still is a multiple of it that int8 holds; else None.

    Weights that were trained or averaged since the import have left their grid.
    """
    if scale is None or scale.shape != weight.shape[:1] or not (scale > 0).all():
        return None
    steps = weight / scale[:, None]
    whole = np.round(steps)
    if np.abs(whole).max(initial=0) > 127 or np.abs(steps - whole).max(initial=0) > ON_GRID:
        return None
    return scale
