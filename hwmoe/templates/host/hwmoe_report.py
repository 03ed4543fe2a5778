"""What is told of a run: tensors against the golden ones, and where a machine has stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

NO_STEP = 0xFFFF  # the error step of what belongs to no step
STATES = {
    "running": "working on",
    "waiting": "waiting for another engine at",
    "held": "held up by memory at",
}


@dataclass(frozen=True)
class Check:
    """A tensor against the golden one: how many values, how many of them wrong, the first."""

    name: str
    values: int
    wrong: int
    first: str

    @classmethod
    def of(cls, name: str, expected: npt.NDArray[Any], found: npt.NDArray[Any]) -> Check:
        where = np.argwhere(expected != found)
        if not len(where):
            return cls(name, expected.size, 0, "")
        at = tuple(int(i) for i in where[0])
        first = f"{list(at)}: expected {expected[at]}, found {found[at]}"
        return cls(name, expected.size, len(where), first)

    def __str__(self) -> str:
        verdict = f"{self.wrong:,} WRONG, first at {self.first}" if self.wrong else "ok"
        return f"{self.name:<32} {self.values:>9,} values  {verdict}"


@dataclass(frozen=True, repr=False)
class Report:
    """Logits of all golden images, then tensor by tensor of the first, in the network's order."""

    logits: tuple[Check, ...]
    tensors: tuple[Check, ...]
    speed: str

    @property
    def first_wrong(self) -> Check | None:
        """The first wrong tensor, otherwise the first wrong logits, or None."""
        return next((check for check in (*self.tensors, *self.logits) if check.wrong), None)

    @property
    def ok(self) -> bool:
        return self.first_wrong is None

    def __repr__(self) -> str:
        wrong = self.first_wrong
        end = f"FAILED: {wrong.name} is wrong first" if wrong else "OK: every value as expected"
        return "\n".join([*map(str, (*self.logits, *self.tensors)), self.speed, end])


def diagnosis(get: Callable[[str], int], manifest: dict[str, Any], program: dict[str, Any]) -> str:
    """The error registers, and what every engine is doing, a line each.

    get: reads a register by name. Two reads a moment apart tell working from waiting.
    """
    code, step = get("error_code"), get("error_step")
    lines = [f"{get('images_done')} images done after {get('cycles'):,} cycles"]
    if code:
        name = manifest["errors"].get(str(code), "unknown")
        at = "" if step == NO_STEP else f" at {_step(program, step)}"
        lines[0] += f"; error {code} ({name}){at}, detail 0x{get('error_detail'):x}"
    before = {name: get(name) for name in _states(manifest)}
    time.sleep(0.001)
    moved = {name for name, count in before.items() if get(name) != count}
    for number, engine in enumerate(manifest["engines"]):
        mine = [i for i, own in enumerate(program["engines"]) if own == number]
        done = get(f"{engine}_completed")
        state = next(
            (STATES[what] for what in STATES if f"{engine}_{what}" in moved), "idle before"
        )
        at = _step(program, mine[done % len(mine)]) if mine else "no step"
        lines.append(f"  {engine}: {state} {at}; {done} instructions complete")
    return "\n".join(lines)


def _states(manifest: dict[str, Any]) -> list[str]:
    return [f"{engine}_{what}" for engine in manifest["engines"] for what in STATES]


def _step(program: dict[str, Any], step: int) -> str:
    known = step < len(program["steps"])
    return f"{program['steps'][step]} (step {step})" if known else f"step {step}"
