"""Integer arithmetic of docs/numerics.md, vectorized; no float in any arithmetic path.

The only floats are in the functions that make tables and multipliers before anything runs.
Arrays are int64 inside unless a docstring says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmoe.errors import HwmoeError

IntArray = npt.NDArray[np.integer[Any]]

FORMAT = 1
"""Number of the contract in docs/numerics.md; stored with every quantized model."""

SHIFTS = (9, 14, 19, 24)
MULTIPLIER_LIMIT = 1 << 17
ACCUMULATOR_LIMIT = 1 << 26
NORM_FRACTION = 10
EXP7_STEPS = 46
EXP15_STEPS = 32
SCORE_ONE = 1 << 15

INT8 = (-128, 127)
INT16 = (-32768, 32767)


class Saturations(dict[str, int]):
    """How many values each site has clipped; a site that was only visited counts 0."""

    def count(self, site: str, clipped: int) -> None:
        self[site] = self.get(site, 0) + int(clipped)

    @property
    def total(self) -> int:
        return sum(self.values())


def saturate(values: IntArray, limits: tuple[int, int], site: str, sat: Saturations) -> IntArray:
    """Clip to `limits` and count under `site` what was changed; int8 or int16 out."""
    clipped = np.clip(values, *limits)
    sat.count(site, np.count_nonzero(clipped != values))
    return clipped.astype(np.int8 if limits == INT8 else np.int16)


def rescale(acc: IntArray, multiplier: IntArray | int, shift: int) -> IntArray:
    """`(acc * multiplier + half) >> shift` in int64 (section 2)."""
    return (acc.astype(np.int64) * multiplier + (1 << (shift - 1))) >> shift


def choose_shift(ratios: Iterable[float], what: str) -> int:
    """The largest allowed shift at which every ratio's multiplier fits 17 bits (section 2).

    `HwmoeError` if there is none: the ranges of the model are too far apart.
    """
    largest = max((abs(ratio) for ratio in ratios), default=0.0)
    fitting = [s for s in SHIFTS if round(largest * 2**s) < MULTIPLIER_LIMIT]
    if not fitting:
        raise HwmoeError(
            f"{what}: a scale ratio of {largest:.3g} needs more than 17 bits; the ranges that "
            "calibration saw around this operation are too far apart"
        )
    return max(fitting)


def bit_length(values: IntArray) -> IntArray:
    """Length in binary of non-negative int64 values, element by element."""
    left = values.astype(np.int64)
    length = np.zeros_like(left)
    for step in (32, 16, 8, 4, 2, 1):
        big = left >> step > 0
        length += np.where(big, step, 0)
        left = np.where(big, left >> step, left)
    return length + (left > 0)


def isqrt32(values: IntArray) -> IntArray:
    """floor(sqrt(v)) of values below 2^32, by bitwise restoring; exact."""
    root = np.zeros_like(values, dtype=np.int64)
    for bit in range(15, -1, -1):
        trial = root | (1 << bit)
        root = np.where(trial * trial <= values, trial, root)
    return root


def gelu_table(scale_in: float, scale_out: float) -> npt.NDArray[np.int8]:
    """256 int8 entries indexed by the two's-complement byte of the input (section 3)."""
    codes = [code if code < 128 else code - 256 for code in range(256)]
    values = [0.5 * c * scale_in * (1 + math.erf(c * scale_in / math.sqrt(2))) for c in codes]
    rounded = [math.floor(value / scale_out + 0.5) for value in values]
    return np.clip(np.array(rounded), *INT8).astype(np.int8)


EXP7 = np.array([math.floor(127 * math.exp(-i / EXP7_STEPS) + 0.5) for i in range(256)], np.int64)
EXP15 = np.array(
    [math.floor(32767 * math.exp(-i / EXP15_STEPS) + 0.5) for i in range(256)], np.int64
)


def layernorm(x: IntArray, gain: IntArray, bias: IntArray, eps: int, shift: int) -> IntArray:
    """Section 4 before its saturation: int16 [..., D] -> int64 [..., D]."""
    dim = x.shape[-1]
    wide = x.astype(np.int64)
    total = wide.sum(-1, keepdims=True)
    variance = dim * (wide * wide).sum(-1, keepdims=True) - total * total + eps
    a = -((32 - bit_length(variance)) // 2)
    normal = np.where(a >= 0, variance >> np.maximum(2 * a, 0), variance << np.maximum(-2 * a, 0))
    r = (1 << 31) // isqrt32(normal)
    z = ((dim * wide - total) * r + (np.int64(1) << (20 + a))) >> (21 + a)
    y: IntArray = (z * gain + bias + (1 << (shift - 1))) >> shift
    return y


def attention_probabilities(
    scores: IntArray, multiplier: int, shift: int
) -> tuple[IntArray, IntArray]:
    """7-bit p [..., T] and their sum L [..., 1] from exact scores [..., T] (section 5)."""
    distance = scores.max(-1, keepdims=True) - scores
    p = EXP7[np.minimum(255, rescale(distance, multiplier, shift))]
    return p, p.sum(-1, keepdims=True)


def normalize_rows(acc: IntArray, row_sum: IntArray, c: int, f: int) -> IntArray:
    """`A * R` shifted back (section 5), before saturation: [..., d] and L [..., 1]."""
    n = bit_length(row_sum)
    r = (np.int64(c) << n) // row_sum
    shift = n + f
    out: IntArray = (acc.astype(np.int64) * r + (np.int64(1) << (shift - 1))) >> shift
    return out


def top_k(logits: IntArray, k: int) -> IntArray:
    """Indices [..., k] of the largest logits, descending, ties to the lower index."""
    return np.argsort(-logits.astype(np.int64), axis=-1, kind="stable")[..., :k]


def gate_scores(
    chosen: IntArray, multiplier: int, shift: int, over: IntArray | None = None
) -> IntArray:
    """Scores [..., k] (2^15 is 1.0) from the chosen logits [..., k], largest first (section 6).

    The softmax runs over the logits `over` [..., n], the chosen among them; None: over the chosen.
    """
    largest = chosen[..., :1].astype(np.int64)

    def weights(logits: IntArray) -> IntArray:
        found: IntArray = EXP15[np.minimum(255, rescale(largest - logits, multiplier, shift))]
        return found

    weight = weights(chosen)
    total = (weight if over is None else weights(over)).sum(-1, keepdims=True)
    score: IntArray = (weight * SCORE_ONE + total // 2) // total
    return score


def apply_score(y: IntArray, score: IntArray) -> IntArray:
    """`(y * u + 2^14) >> 15` (section 7): int16 [n, D] and scores [n, 1]."""
    return (y.astype(np.int64) * score + (1 << 14)) >> 15
