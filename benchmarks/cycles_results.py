"""Simulated cycles kept by digest, and how far predictions are from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwmoe.flow.kept import Kept


@dataclass(frozen=True)
class Sample:
    """One comparison, in cycles. `allowed`: simulated cycles -> largest error."""

    what: str
    predicted: float
    simulated: float
    allowed: Callable[[float], float]

    @property
    def cycles(self) -> float:
        return self.predicted - self.simulated

    @property
    def share(self) -> float:
        return self.cycles / self.simulated

    @property
    def of_allowed(self) -> float:
        """1: just within the limit."""
        return abs(self.cycles) / self.allowed(self.simulated)


def within(share: float, cycles: float) -> Callable[[float], float]:
    """Allowed is a share of the simulated cycles, or so many cycles if that is more."""
    return lambda simulated: max(share * simulated, cycles)


def sources_of(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Rendered files in a folder of their digest, as a list of sources."""
    names = sorted(files)
    own = folder / "rtl" / Kept.digest(*(f"{n}\n{files[n]}".encode() for n in names))
    own.mkdir(parents=True, exist_ok=True)
    for name in names:
        (own / name).write_text(files[name])
    return [own / name for name in names]


HEADER = (
    "| | configurations | compared | exact | 95 % within | largest error | beyond the limit |\n"
    "|---|--:|--:|--:|--:|--:|--:|"
)


def row(name: str, configurations: int, samples: Sequence[Sample]) -> str:
    """A line of the table. The largest error is that nearest to its limit, or farthest beyond."""
    exact = sum(round(abs(s.cycles)) == 0 for s in samples)
    near = float(np.percentile([abs(s.share) for s in samples], 95))
    worst = max(samples, key=lambda s: s.of_allowed)
    error = f"{worst.cycles:+,.0f} of {worst.simulated:,.0f} ({worst.share:+.2%})"
    error = error if exact < len(samples) else "none"
    beyond = sum(s.of_allowed > 1 for s in samples)
    figures = f"{configurations} | {len(samples)} | {exact} | {near:.2%} | {error} | {beyond}"
    return f"| {name} | {figures} |"
