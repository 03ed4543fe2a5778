"""Every machine of the space, a front at a time: the truth that the two-stage search is held to."""

from __future__ import annotations

from collections.abc import Sequence

from hwmoe.dse.backs import Found, Split
from hwmoe.dse.two_stage import SLACK, WORST, Say, value_of


def exhaustive(splits: Sequence[Split], say: Say) -> list[Found]:
    """The best machine of each split, best first."""
    found: list[Found] = []
    smallest = bool(splits) and splits[0].goal.kind == "size"
    total = sum(split.space.fronts_count for split in splits)
    done = 0
    for split in splits:
        best: Found | None = None
        for front in split.space.fronts():
            own = split.best(front)
            if value_of(own, smallest) < value_of(best, smallest):
                best = own
            done += 1
            if not done % 64:
                say(done, total)
        if best and value_of(best, smallest) < WORST:
            found.append(split.shrunk(best, SLACK))
    say(total, total)
    return sorted(found, key=lambda f: value_of(f, smallest))
