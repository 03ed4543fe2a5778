"""Which limit binds: of a machine that was chosen, and of a request that cannot be met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from hwmoe.dse.backs import Found, Split
from hwmoe.dse.objective import ENGINES, Goal
from hwmoe.errors import HwmoeError
from hwmoe.plan.board import Board

NAMES = {
    "dsp": "DSPs",
    "bram36": "block RAMs",
    "lut": "LUTs",
    "ff": "flip-flops",
    "uram": "UltraRAMs",
}
NOTICEABLE = 0.02


@dataclass(frozen=True)
class Binding:
    """What would make a machine faster: without a limit, so many cycles less by estimate."""

    name: str
    cycles: float


def binding_of(split: Split, found: Found) -> list[Binding]:
    """Limits without any one of which a faster linear kernel or expert engine would stand beside
    the same attention block, the most promising first; empty if the engines are the limit."""
    gains = []
    for name in (*split.resources, "slr") if split.goal.kind != "size" else ():
        free = Split(split.metrics, split.goal, split.stages, name).best(found.front)
        if free and free.cycles < (1 - NOTICEABLE) * found.cycles:
            gains.append(Binding(name, found.cycles - free.cycles))
    return sorted(gains, key=lambda gain: -gain.cycles)


def refuse_space(
    splits: Sequence[Split], refused: Sequence[HwmoeError], board: Board, model: str
) -> NoReturn:
    """No machine of the space fits the board."""
    if not splits:
        raise (
            refused[0]
            if refused
            else HwmoeError(
                f"{board.name}: its ports carry no kernel of the search space; it takes two ports "
                "or more, of 64 bits or more"
            )
        )
    names = splits[0].resources
    least = np.array([split.least() for split in splits])
    caps = splits[0].caps
    lines = []
    for at, name in enumerate(names):
        need, cap = least[:, at].min(), caps[at]
        if need > cap:
            lines.append(f"{NAMES[name]}: {need:,.0f} at least, {cap:,.0f} allowed")
    if not lines:
        over = (least / caps).max(axis=1)
        nearest = least[int(over.argmin())]
        lines = [
            f"{NAMES[name]}: {nearest[at]:,.0f} of the smallest machine, {caps[at]:,.0f} allowed"
            for at, name in enumerate(names)
            if nearest[at] > caps[at]
        ] or ["each kernel fits, but not all of them together"]
    raise HwmoeError(
        f"{board.name} has too few resources for {model}:\n  "
        + "\n  ".join(lines)
        + "\nTake a larger board, a smaller model (tokens and dimensions decide the memories), or "
        "allow larger shares with --share."
    )


def refuse_rate(splits: Sequence[Split], board: Board, goal: Goal, model: str) -> NoReturn:
    """No machine is fast enough: what each of its parts would need at least."""
    clock = board.clock_mhz * 1e6
    floors = {name: min(split.floors()[name] for split in splits) for name in (*ENGINES, "memory")}
    fastest = min(split.floor for split in splits)
    allowed = goal.cycles(board)
    lines = [
        f"{name}: {cycles:,.0f} cycles an image at least, {clock / cycles:,.0f} images/s"
        for name, cycles in floors.items()
        if cycles > allowed
    ]
    change = []
    if floors["memory"] > allowed:
        factor = floors["memory"] / allowed
        change.append(f"a memory of {factor:.2g} times the bandwidth, or ternary experts")
    if any(floors[name] > allowed for name in ENGINES) or not lines:
        change.append(f"a clock or board {fastest / allowed:.2g} times as fast, a smaller model")
    text = "\n  ".join(lines) or "no single engine: together they do not fit the board"
    raise HwmoeError(
        f"{goal.rate:,.0f} images/s of {model} are {allowed:,.0f} cycles an image on {board.name} "
        f"at the assumed {board.clock_mhz:g} MHz. By estimate no machine that fits needs less than "
        f"{fastest:,.0f} ({clock / fastest:,.0f} images/s). What binds:\n  {text}\n"
        f"It would take {'; '.join(change)}."
    )
