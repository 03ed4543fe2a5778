"""Integer reference of every operation of the machine (docs/numerics.md), and its constants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwmoe.model.config import GateScores
from hwmoe.quant.numerics import (
    INT8,
    INT16,
    IntArray,
    Saturations,
    attention_probabilities,
    gate_scores,
    layernorm,
    normalize_rows,
    rescale,
    saturate,
    top_k,
)


@dataclass(frozen=True, eq=False)
class LinearParams:
    """One quantized linear operation: N output channels over K input channels.

    weight int8 [N, K] (in {-1, 0, 1} if `ternary`), bias int32 [N], multiplier int32 [N],
    shift one of numerics.SHIFTS; `wide` gives int16 results; `table` int8 [256] is GELU.
    """

    weight: IntArray
    bias: IntArray
    multiplier: IntArray
    shift: int
    wide: bool = False
    table: IntArray | None = None
    ternary: bool = False


@dataclass(frozen=True)
class AttentionParams:
    """Constants of one attention operation: m_s, s_s, C and f of section 5."""

    score_mult: int
    score_shift: int
    out_mult: int
    out_shift: int


@dataclass(frozen=True, eq=False)
class NormParams:
    """Constants of one LayerNorm: gain and bias int32 [D], E and the shift of section 4."""

    gain: IntArray
    bias: IntArray
    eps: int
    shift: int


@dataclass(frozen=True)
class GateParams:
    """Constants of one gate: m_g and s_g of section 6, k, and what the softmax runs over."""

    score_mult: int
    score_shift: int
    top_k: int
    scores: GateScores = "topk"


def linear(
    x: IntArray, params: LinearParams, site: str, sat: Saturations
) -> tuple[IntArray, IntArray]:
    """int8 [..., K] -> (before the table, result), each int8 or int16 [..., N].

    Without a table both are the same array.
    """
    rows = x.reshape(-1, x.shape[-1]).astype(np.int32)
    acc = np.einsum("tk,nk->tn", rows, params.weight.astype(np.int32)) + params.bias
    scaled = rescale(acc, params.multiplier, params.shift)
    y = saturate(scaled, INT16 if params.wide else INT8, site, sat)
    y = y.reshape(*x.shape[:-1], -1)
    return y, y if params.table is None else params.table[y.view(np.uint8)]


def attention(
    q: IntArray, k: IntArray, v: IntArray, params: AttentionParams, site: str, sat: Saturations
) -> tuple[IntArray, IntArray]:
    """int8 [..., T, d] each -> (7-bit probabilities [..., T, T], int8 result [..., T, d])."""
    q32, k32, v32 = (a.astype(np.int32) for a in (q, k, v))
    scores = np.einsum("...qd,...kd->...qk", q32, k32)
    p, row_sum = attention_probabilities(scores, params.score_mult, params.score_shift)
    acc = np.einsum("...qk,...kd->...qd", p.astype(np.int32), v32)
    out = normalize_rows(acc, row_sum, params.out_mult, params.out_shift)
    return p, saturate(out, INT8, site, sat)


def norm(x: IntArray, params: NormParams, site: str, sat: Saturations) -> IntArray:
    """LayerNorm of int16 [..., D] to int8 [..., D]."""
    y = layernorm(x, params.gain, params.bias, params.eps, params.shift)
    return saturate(y, INT8, site, sat)


def gate(logits: IntArray, params: GateParams) -> tuple[IntArray, IntArray]:
    """int16 logits [..., E] -> experts [..., k] in descending order and their scores [..., k]."""
    chosen = top_k(logits, params.top_k)
    values = np.take_along_axis(logits, chosen, axis=-1)
    over = logits if params.scores == "all" else None
    return chosen, gate_scores(values, params.score_mult, params.score_shift, over)
