"""Scale of each output channel of an int8 weight, by the error that its layer sees."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CLIPS = np.linspace(1.0, 0.5, 26)


def best_weight_scale(weight: Floats, power: Floats | None) -> Floats:
    """[N, K] -> scale [N]: the clip of each channel with the least ``sum_j p_j (w - q(w))^2``.

    `power` [K] is the mean square of each input: the diagonal of the Hessian of the layer's
    squared error (Nagel et al. 2020, "Up or down?"). None counts all inputs alike.
    """
    inputs = np.ones(weight.shape[1]) if power is None else power
    largest: Floats = np.abs(weight).max(axis=1) / 127
    best, least = largest.copy(), np.full(len(weight), np.inf)
    for clip in CLIPS:
        scale = np.where(largest > 0, largest * clip, 1.0)
        whole = np.clip(np.round(weight / scale[:, None]), -127, 127)
        error = ((weight - whole * scale[:, None]) ** 2) @ inputs
        better = error < least
        best, least = np.where(better, largest * clip, best), np.where(better, error, least)
    return best
