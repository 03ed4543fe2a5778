"""Every machine of the space, a front at a time: the truth that the two-stage search is held to."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest

from hwmoe.dse.backs import Found, Split
from hwmoe.dse.two_stage import SLACK, Say, value_of


def exhaustive(splits: Sequence[Split], say: Say, more: int = 0) -> list[Found]:
    """The best machine of each split, best first; `more` as of `two_stage`."""
    found: list[Found] = []
    smallest = bool(splits) and splits[0].goal.kind == "size"
    total = sum(split.space.fronts_count for split in splits)
    done = 0
    for split in splits:
        fitting: list[Found] = []
        for front in split.space.fronts():
            if own := split.best(front):
                fitting.append(own)
            done += 1
            if not done % 64:
                say(done, total)
        best = nsmallest(1 + more, fitting, key=lambda f: value_of(f, smallest))
        found += [split.shrunk(one, SLACK) for one in best]
    say(total, total)
    return sorted(found, key=lambda f: value_of(f, smallest))
