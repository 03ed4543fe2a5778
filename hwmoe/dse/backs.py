"""The best linear kernel, and expert engine, that the rest of a budget allows."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwmoe.dse.metrics import Floats, Metrics
from hwmoe.dse.objective import BACK_ENGINES, FRONT_ENGINES, Goal, order_of, work_of
from hwmoe.dse.resources import Cost
from hwmoe.dse.space import Expert, Front
from hwmoe.plan.accelerator import AcceleratorConfig

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Found:
    """A machine: estimated cycles, and its size, the mean share of the board's resources."""

    t_in: int
    stages: int
    front: Front
    linear: int
    expert: Expert
    cycles: float
    size: float


Numbers = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


class Split:
    """Machines of one word width and number of images in flight, front by front.

    All backs (linear kernel with expert engine or none) are held as arrays, small ones first;
    `best` looks at every back that fits beside a front.
    """

    def __init__(
        self, metrics: Metrics, goal: Goal, stages: int, without: str | None = None
    ) -> None:
        """`without`: a resource that is not limited, or `slr`."""
        self.metrics, self.goal, self.stages = metrics, goal, stages
        self.space, self.columns = metrics.space, metrics.columns
        count = self.columns.resources
        self.resources = self.columns.names[:count]
        self.caps = goal.caps(metrics.board, self.columns)
        slrs = metrics.board.resources
        share = 1.0 if without == "slr" else max(slrs.shares)
        self._slr_caps = self.caps * share if share < 1 else np.full(count, np.inf)
        if without in self.resources:
            self.caps[self.resources.index(without)] = np.inf
        backs = metrics.back(stages)
        self.smallest_back = backs[..., :count].reshape(-1, count).min(axis=0)
        fits = (backs[..., :count] <= self.caps).all(axis=-1) & self._in_one_slr()
        linear, expert = np.nonzero(fits)
        size = self._size(backs[linear, expert])
        order = np.argsort(size, kind="stable")
        self.linear, self.expert, self.size = linear[order], expert[order], size[order]
        rows = backs[self.linear, self.expert]
        self.costs = [np.ascontiguousarray(rows[:, n]) for n in range(count)]
        self.bounds = {name: rows[:, self.columns[name]] for name in (*BACK_ENGINES, "memory")}
        self.work = work_of(self.columns, rows, stages)
        self.streaming = self.bounds["memory"] ** (2 * order_of(stages))
        self.epilogue = metrics.epilogues[1][self.linear]

    def best(self, front: Front) -> Found | None:
        """First stage: the fastest back beside `front`, or for a rate the smallest."""
        added = self.metrics.front(front, self.stages)
        at = np.flatnonzero(self._fitting(added))
        if not len(at) or not self._front_in_one_slr(front):
            return None
        if self.goal.kind == "size":
            fast = self._cycles(added, at) <= self.goal.cycles(self.metrics.board)
            if not fast.any():
                return None
            return self._found(front, added, int(at[np.argmax(fast)]))
        scores = self._score(added, at)
        return self._found(front, added, int(at[np.argmin(scores)]))

    def shrunk(self, found: Found, slack: float) -> Found:
        """Second stage: the smallest back beside the same front that costs at most `slack` of the
        speed. The attention block bounds the machine, so a linear kernel that waits for it is cut
        down, by binary search along the backs none of which is both smaller and faster."""
        added = self.metrics.front(found.front, self.stages)
        at, cycles = self._steps(added)
        limit = min((1 + slack) * found.cycles, self.goal.cycles(self.metrics.board))
        step = bisect_left(-cycles, -limit)  # from small to large ever faster
        return self._found(found.front, added, int(at[min(step, len(at) - 1)]))

    def ladder(self, front: Front) -> list[Found]:
        """The backs beside `front` that no smaller one is as fast as, from small to large."""
        added = self.metrics.front(front, self.stages)
        at, _ = self._steps(added)
        return [self._found(front, added, int(one)) for one in at]

    def _steps(self, added: Floats) -> tuple[Numbers, Floats]:
        """Numbers of those backs, and their cycles."""
        at = np.flatnonzero(self._fitting(added))
        cycles = self._cycles(added, at)
        steps = np.flatnonzero(np.diff(np.minimum.accumulate(cycles), prepend=np.inf) < 0)
        return at[steps], cycles[steps]

    def says(self, found: Found) -> str:
        """A machine in a line."""
        cfg, front = self.space.linears[found.linear], found.front
        linear = f"linear {cfg.t_in} x {cfg.t_out} x {cfg.t_tok}"
        expert = (
            f", experts {cfg.t_in} x {found.expert[0]} x {found.expert[1]}" if found.expert else ""
        )
        heads = f"{front.rows} rows x {front.dim_lanes} lanes x {front.head_units}"
        return f"{linear}{expert}, attention {heads}, {found.stages} in flight"

    def has(self, found: Found) -> bool:
        return (found.t_in, found.stages) == (self.space.t_in, self.stages)

    def machine(self, found: Found) -> AcceleratorConfig:
        return self.space.machine(found.front, found.linear, found.expert, found.stages)

    @property
    def floor(self) -> float:
        """No machine of this split is estimated faster: the best back beside the best front."""
        front = work_of(self.columns, self.metrics.fastest_fronts, self.stages).min()
        least = (np.square(self.work + front) + self.streaming).min(initial=np.inf)
        return float(least ** (0.5 / order_of(self.stages)))

    def floors(self) -> dict[str, float]:
        """Least cycles of each engine and of the memory, by any machine of this split."""
        fronts = self.metrics.fastest_fronts
        least = {name: float(fronts[:, self.columns[name]].min()) for name in FRONT_ENGINES}
        return least | {name: float(c.min(initial=np.inf)) for name, c in self.bounds.items()}

    def least(self) -> Floats:
        """Of each resource, what any machine of this split takes at least."""
        fronts = [self.metrics.front(front, self.stages) for front in self.space.fronts()]
        front = np.array(fronts)[..., : len(self.resources)].min(axis=(0, 1))
        return np.asarray(self.smallest_back + front)

    def some_fits(self) -> bool:
        """Whether there is any machine, fast or not."""
        return any(
            self._fitting(self.metrics.front(front, self.stages)).any()
            for front in self.space.fronts()
        )

    def within(self, cost: Cost) -> bool:
        """Whether a machine of this cost may be taken."""
        return all(
            getattr(cost, name) <= cap + TOLERANCE
            for name, cap in zip(self.resources, self.caps, strict=True)
        )

    def _fitting(self, added: Floats) -> Mask:
        fits = np.ones(len(self.size), bool)
        for number, cost in enumerate(self.costs):
            fits &= cost + added[self.epilogue, number] <= self.caps[number]
        return fits

    def _score(self, added: Floats, at: Numbers) -> Floats:
        """In the order of the estimated cycles, and cheaper."""
        front = work_of(self.columns, added[0], self.stages)
        return np.asarray(np.square(self.work[at] + front) + self.streaming[at])

    def _cycles(self, added: Floats, at: Numbers) -> Floats:
        return np.asarray(self._score(added, at) ** (0.5 / order_of(self.stages)))

    def _size(self, rows: Floats) -> Floats:
        own = [getattr(self.metrics.board.resources, name) for name in self.resources]
        return np.asarray((rows[..., : len(own)] / np.array(own)).mean(axis=-1))

    def _found(self, front: Front, added: Floats, at: int) -> Found:
        row = np.array([cost[at] for cost in self.costs])
        row += added[self.epilogue[at], : len(row)]
        return Found(
            t_in=self.space.t_in,
            stages=self.stages,
            front=front,
            linear=int(self.linear[at]),
            expert=self.space.experts[int(self.expert[at])],
            cycles=float(self._cycles(added, np.array([at]))[0]),
            size=float(self._size(row)),
        )

    def _in_one_slr(self) -> Mask:
        """Whether the linear kernel and the expert engine each fit one SLR: what each needs more
        than the least kernel of the space, within the share that one SLR has."""
        kernels = self.metrics.kernels[..., : self.columns.resources]
        linear = kernels[:, 0] - kernels[:, 0].min(axis=0) <= self._slr_caps
        expert = kernels - kernels[:, :1] <= self._slr_caps
        return np.asarray(linear.all(axis=-1)[:, None] & expert.all(axis=-1))

    def _front_in_one_slr(self, front: Front) -> bool:
        """The same of the attention block."""
        added = self.metrics.front(front, self.stages) - self.metrics.least_front(self.stages)
        return bool((added[0, : self.columns.resources] <= self._slr_caps).all())
