"""What was measured of plans, and how it is told: in plan.json, beside what was predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hwmoe.dse.objective import SHARES, Goal
from hwmoe.dse.search import Plan
from hwmoe.dse.search import Result as Found
from hwmoe.plan.board import Board

Result = dict[str, Any]
CELLS = {"lut": "lut_sites", "ff": "ff", "dsp": "dsp", "bram36": "bram36", "uram": "uram"}
"""Resource of a board -> field of `Cells` that takes it."""


@dataclass(frozen=True)
class Measured:
    """A plan with what was measured of it: cycles as in `Plan`, resources by the board's names.

    `predicted`: cycles of the run that is simulated, with the experts that its tokens choose.
    `failures`: why something was not measured. `refusals`: why it must not be chosen, by what was.
    """

    plan: Plan
    predicted: float
    cycles: float | None
    resources: Mapping[str, float]
    failures: tuple[str, ...]
    refusals: tuple[str, ...]
    differs: bool
    simulated: Mapping[str, Any]

    @property
    def problems(self) -> tuple[str, ...]:
        return self.failures + self.refusals


@dataclass(frozen=True)
class Refined:
    """All measured plans, as predicted best first. `best`: the number of the pick; `tools`: that
    measured."""

    measured: tuple[Measured, ...]
    best: int
    tools: Mapping[str, str]

    @property
    def plan(self) -> Plan:
        return self.measured[self.best].plan


def allowed(board: Board, goal: Goal) -> dict[str, float]:
    """Of each resource that the board has."""
    shares = {**SHARES, **goal.shares}
    own = board.resources
    return {name: shares[name] * getattr(own, name) for name in CELLS if getattr(own, name)}


def section(refined: Refined, found: Found, board: Board, goal: Goal) -> Result:
    """For plan.json: every measured plan, and the pick's time at the assumed clock."""
    best = refined.measured[refined.best]
    clock, cycles = board.clock_mhz, best.cycles or 0.0
    return {
        "cycles": round(cycles),
        "ms": cycles / clock / 1e3,
        "images_a_second": clock * 1e6 / cycles,
        "resources": dict(best.resources),
        "tools": dict(refined.tools),
        "plans": [
            _plan(own, number == refined.best, found, board, goal)
            for number, own in enumerate(refined.measured)
        ],
    }


def _plan(own: Measured, chosen: bool, found: Found, board: Board, goal: Goal) -> Result:
    cost, caps = asdict(own.plan.cost), allowed(board, goal)
    limit = goal.cycles(board)
    rows = {"cycles": _row(own.predicted, own.cycles, limit if limit < float("inf") else None)}
    for name, cap in caps.items():
        rows[name] = _row(cost[name], own.resources.get(name), cap)
    verdict = "failed" if own.failures else "refused" if own.refusals else "fits"
    return {
        "says": found.split_of(own.plan).says(own.plan.found),
        "accelerator": own.plan.accelerator.model_dump(exclude_none=True),
        "verdict": "chosen" if chosen else verdict,
        "problems": list(own.problems),
        "differs": own.differs,
        "simulated": dict(own.simulated),
        "rows": rows,
    }


def _row(predicted: float, measured: float | None, allowed: float | None) -> Result:
    """`error`: of the prediction, as a share of what was measured."""
    error = predicted / measured - 1 if measured else None
    return {"predicted": predicted, "measured": measured, "error": error, "allowed": allowed}
