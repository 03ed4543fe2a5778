"""Ternary weights: values, scales and the straight-through gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from hwmoe.quant.ternary import fake_ternary, ternarize

WEIGHTS = arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9)),
    elements=st.floats(-8, 8, width=32).filter(lambda v: v == 0 or abs(v) > 1e-6),
)


@given(WEIGHTS)
@settings(max_examples=60, deadline=None)
def test_codes_and_scales_follow_the_paper(values: NDArray[np.float32]) -> None:
    codes, scale = ternarize(torch.from_numpy(values))
    assert codes.dtype == torch.int8
    assert codes.shape == values.shape
    assert scale.shape == values.shape[:-1]
    for row, code, factor in zip(
        values.reshape(-1, values.shape[-1]),
        codes.numpy().reshape(-1, values.shape[-1]),
        scale.numpy().reshape(-1),
        strict=True,
    ):
        size = np.abs(row.astype(np.float64))
        clear = np.abs(size - 0.7 * size.mean()) > 1e-5 * size.max()  # not at the threshold
        want = np.where(size > 0.7 * size.mean(), np.sign(row), 0)
        assert (code == want)[clear].all()
        kept = size[code != 0]
        assert factor == pytest.approx(kept.mean() if len(kept) else 1.0, rel=1e-5)


@given(WEIGHTS)
@settings(max_examples=30, deadline=None)
def test_ternary_is_idempotent_and_odd(values: NDArray[np.float32]) -> None:
    weight = torch.from_numpy(values)
    codes, scale = ternarize(weight)
    again, same = ternarize(codes.float() * scale[..., None])
    # Zeros pull the threshold down, never above the kept values.
    assert torch.equal(again, codes)
    assert torch.allclose(same, scale, rtol=1e-5)
    negative, positive_scale = ternarize(-weight)
    assert torch.equal(negative, -codes)
    assert torch.equal(positive_scale, scale)


def test_zero_channel_is_safe() -> None:
    weight = torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 0.1]])
    codes, scale = ternarize(weight)
    assert codes.tolist() == [[0, 0, 0], [1, -1, 0]]
    assert scale.tolist() == [1.0, 1.0]


def test_fake_ternary_has_the_ternary_value_and_a_straight_gradient() -> None:
    weight = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    out = fake_ternary(weight)
    codes, scale = ternarize(weight)
    assert torch.allclose(out, codes * scale[..., None], atol=1e-6)
    torch.autograd.backward((out * 3).sum())
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.full_like(weight, 3))


def test_a_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="out, in"):
        ternarize(torch.ones(4))
