"""What the search wants, what it may use, and the estimate that it compares machines by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from typing import Literal

import numpy as np

from hwmoe.dse.bounds import Bounds
from hwmoe.dse.metrics import Columns, Floats
from hwmoe.errors import HwmoeError
from hwmoe.plan.board import Board

Kind = Literal["throughput", "latency", "size"]
KINDS: tuple[Kind, ...] = ("throughput", "latency", "size")

SHARES: Mapping[str, float] = {
    "dsp": 0.88,
    "bram36": 0.80,
    "lut": 0.75,
    "ff": 0.75,
    "uram": 0.80,
}
"""Of the board's resources that a machine may use. What is estimated needs the larger margin."""

BACK_ENGINES, FRONT_ENGINES = ("linear", "expert"), ("attention", "vector")
ENGINES = BACK_ENGINES + FRONT_ENGINES
FILLS = {name: f"{name}_fill" for name in ("linear", "expert", "attention")}


@dataclass(frozen=True)
class Goal:
    """`throughput`: least cycles between images. `latency`: least cycles of one image alone.
    `size`: the smallest machine of at least `rate` images a second."""

    kind: Kind = "throughput"
    rate: float | None = None
    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))

    def __post_init__(self) -> None:
        problems = []
        if (self.kind == "size") != (self.rate is not None):
            problems.append("a rate and the objective `size` go together: give both or neither")
        if self.rate is not None and not self.rate > 0:
            problems.append(f"rate {self.rate:g}: give images a second, more than 0")
        for name, share in self.shares.items():
            if name not in SHARES:
                problems.append(f"share of {name}: known are {', '.join(SHARES)}")
            elif not 0 < share <= 1:
                problems.append(f"share of {name} {share:g}: give more than 0, at most 1")
        if problems:
            raise HwmoeError("search:\n  " + "\n  ".join(problems))

    def cycles(self, board: Board) -> float:
        """Cycles between images that `rate` allows; without a rate: any."""
        return board.clock_mhz * 1e6 / self.rate if self.rate else np.inf

    def caps(self, board: Board, columns: Columns) -> Floats:
        """What a machine may use of each resource: [resources]."""
        names = columns.names[: columns.resources]
        shares = {**SHARES, **self.shares}
        return np.array([shares[n] * getattr(board.resources, n) for n in names])

    def stages(self, of: tuple[int, ...]) -> tuple[int, ...]:
        """Numbers of images in flight that can help: one image alone does not share engines."""
        return of[:1] if self.kind == "latency" else of


def order_of(stages: int) -> float:
    """Of the norm that `estimate` takes of the engines' bounds."""
    return (1 + stages) / 2


def work_of(columns: Columns, values: Floats, stages: int) -> Floats:
    """The part of `estimate` that adds up over a machine's parts: the sum of cycles ** order."""
    parts = []
    for name in ENGINES:
        cycles = values[..., columns[name]]
        if name in FILLS:
            cycles = cycles + values[..., columns[FILLS[name]]]
        parts.append(cycles ** order_of(stages))
    return np.asarray(sum(parts))


def estimate(work: Floats, memory: Floats | float, stages: int) -> Floats:
    """Cycles between images from the engines' bounds: only to compare machines.

    A norm of the engines' bounds and fills: with one image in flight they take turns, which is
    their sum, and with many the slowest decides. Weights are read meanwhile, so the memory enters
    with twice the order. The order was set to predicted schedules, whose error
    benchmarks/search.py prints.
    """
    order = 2 * order_of(stages)
    return np.asarray((np.square(work) + memory**order) ** (1 / order))


def estimate_of(bounds: Bounds, stages: int) -> float:
    """`estimate` of one machine."""
    names = Columns(tuple(f.name for f in fields_of(bounds)))
    values = np.array([getattr(bounds, name) for name in names.names], float)
    return float(estimate(work_of(names, values, stages), bounds.memory, stages))
