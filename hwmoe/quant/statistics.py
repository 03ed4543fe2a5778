"""What calibration keeps of an activation: a histogram of magnitudes, and extremes by channel."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Values = npt.NDArray[np.floating[Any]]

BINS = 1 << 14
"""Even at a sixteenth of the largest magnitude, 8 bins lie in one step of int8."""


@dataclass
class Histogram:
    """Counts [BINS] of magnitudes from 0 to `top`, a power of two that grows with the values."""

    top: float = 0.0
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def see(self, values: Values) -> None:
        """Add finite values of any shape."""
        magnitude = np.abs(values).reshape(-1)
        largest = float(magnitude.max(initial=0.0))
        if not largest:
            self.counts[0] += magnitude.size
            return
        self._grow(2.0 ** (math.floor(math.log2(largest)) + 1))
        bins = (magnitude * (BINS / self.top)).astype(np.int64)
        self.counts += np.bincount(bins, minlength=BINS)[:BINS]

    def _grow(self, top: float) -> None:
        """Merge neighbours until `top` is inside; exact, since both are powers of two."""
        if not self.top:
            self.top = top
        while self.top < top:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros_like(merged)])
            self.top *= 2

    def noise(self, limit: float, levels: int = 127) -> float:
        """Sum of squared errors when [-limit, limit] is `levels` steps to each side."""
        used = np.nonzero(self.counts)[0]
        centre = (used + 0.5) * (self.top / BINS)
        step = limit / levels
        error = centre - np.minimum(np.floor(centre / step + 0.5), levels) * step
        return float((self.counts[used] * error**2).sum())

    def sqnr_db(self, limit: float) -> float | None:
        """Signal to quantization noise of int8 with this range; None without a signal."""
        used = np.nonzero(self.counts)[0]
        signal = float((self.counts[used] * ((used + 0.5) * (self.top / BINS)) ** 2).sum())
        noise = self.noise(limit)
        return 10 * math.log10(signal / noise) if self.top and signal and noise else None


@dataclass
class Channels:
    """Smallest and largest value and sum of squares of each channel, float64 [D], of `rows`."""

    low: Floats
    high: Floats
    squares: Floats
    rows: int = 0

    @classmethod
    def of(cls, width: int) -> Channels:
        return cls(np.full(width, np.inf), np.full(width, -np.inf), np.zeros(width))

    def see(self, values: Values) -> None:
        """Add values [..., D]."""
        flat = values.reshape(-1, values.shape[-1])
        self.low = np.minimum(self.low, flat.min(axis=0))
        self.high = np.maximum(self.high, flat.max(axis=0))
        self.squares += np.einsum("td,td->d", flat, flat, dtype=np.float64)
        self.rows += len(flat)

    @property
    def power(self) -> Floats:
        """Mean square of each channel: the diagonal of a linear layer's Hessian, halved."""
        return self.squares / max(1, self.rows)

    @property
    def magnitude(self) -> Floats:
        return np.maximum(np.abs(self.low), np.abs(self.high))
