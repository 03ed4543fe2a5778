"""Why two dot products of 16 taps fit one DSP48E2 cascade, by arithmetic alone."""

from __future__ import annotations

import numpy as np

SP = 19  # bits between the two fields
WEIGHT, X_LOW = 127, -128  # |weight| <= WEIGHT


def fields(p: np.ndarray, spacing: int) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) as the hardware reads them: offset binary below, two's complement above."""
    low = (p & (1 << spacing) - 1) - (1 << spacing - 1)
    high = p >> spacing & (1 << spacing) - 1
    return low, high - ((high >> spacing - 1) << spacing)


def exact(length: int, spacing: int, weight_low: int = -WEIGHT) -> bool:
    """No pair of sums that a chain of `length` can reach is read wrongly.

    p = high * 2^spacing + (low + 2^(spacing-1)) splits exactly if the bracket fits below the high
    field and high fits its own: each is tried on its whole range, with the other at its limits.
    """
    products = np.outer(np.arange(weight_low, 128), np.arange(-128, 128))
    least, most = int(products.min()) * length, int(products.max()) * length
    values, limits = np.arange(least, most + 1), np.array([least, -1, 0, 1, most])
    for low, high in ((values[:, None], limits), (limits, values[:, None])):
        got_low, got_high = fields((high << spacing) + low + (1 << spacing - 1), spacing)
        if (got_low != low).any() or (got_high != high).any():
            return False
    return True


def test_sixteen_taps_fit_at_nineteen_bits() -> None:
    assert exact(16, SP)
    assert 16 * WEIGHT * -X_LOW == 260_096 < 1 << SP - 1
    # Every shorter chain is within these ranges; a longer one is not.
    assert not exact(17, SP)
    assert exact(15, SP, weight_low=-128)
    assert not exact(16, SP, weight_low=-128)
    assert exact(8, 18)
    assert not exact(9, 18)


def test_both_weights_fit_the_pre_adder() -> None:
    low, high = np.meshgrid(np.arange(-WEIGHT, 128), np.arange(-WEIGHT, 128))
    inside = 1 << 26
    packed = low + (high << SP)
    assert packed.min() >= -inside
    assert packed.max() < inside
    assert (low + (high << SP + 1)).max() >= inside  # so no spacing above 19
    assert -inside > (-128 << SP) - 1  # why -128 is no weight
    # The product fits 45 bits and 16 of them, with the constant, the 48 of P.
    product = int(abs(packed).max()) * -X_LOW
    assert product < 1 << 44
    assert 16 * product + (1 << SP - 1) < 1 << 47
