"""Who waits for whom: waits, signals and initial counters from what the steps read and write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.effects import effects
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.order import Footprints
from hwmoe.plan.program import MachineSizes, Step

ITERATIONS = 3
"""After so many the pattern repeats: what an iteration waits for lies at most one before it."""


def pack_counters(counters: Sequence[int]) -> dict[str, int]:
    """Initial token counters, 8 bits each, as fields of `loop`."""
    names = _counter_fields()
    data = bytes(counters).ljust(4 * len(names), b"\0")
    return {n: int.from_bytes(data[4 * i : 4 * i + 4], "little") for i, n in enumerate(names)}


def unpack_counters(loop: Mapping[str, int], engines: int) -> list[int]:
    """The inverse of `pack_counters`: a counter for every ordered pair of so many engines."""
    packed = b"".join(loop[name].to_bytes(4, "little") for name in _counter_fields())
    return list(packed[: engines**2])


def _counter_fields() -> list[str]:
    fields = instruction_set().formats["loop"].fields
    return [name for name in fields if name.startswith("tokens_")]


def synchronize(
    steps: Sequence[Step], acc: AcceleratorConfig, sizes: MachineSizes
) -> tuple[list[Step], list[int]]:
    """The steps with `wait`, `signal` and `after`, and the initial counters.

    A step waits for the last instruction of every other engine that it must come after, unless
    its own engine has waited for that one or a later one before. The program runs in a loop, so
    this is followed over several iterations and the last is taken; what it waits for of the
    iteration before are the counters that the first iteration must find.
    """
    engines = len(acc.engines)
    linears = [acc.engines.index(name) for name in acc.linears]
    found = [effects(step, acc) for step in steps]
    last = Footprints(sizes, engines)
    waited = [[-1] * engines for _ in range(engines)]  # [me][from]: number of the step waited for
    place = _places(steps, engines)
    wait, signal, after = ([0] * len(steps) for _ in range(3))
    initial = [0] * engines**2
    for iteration in range(ITERATIONS):
        final = iteration == ITERATIONS - 1
        begin = iteration * len(steps)
        for index, step in enumerate(steps):
            me = step.engine
            before = last.before(found[index])
            for other in range(engines):
                number = int(before[other])
                if other == me or number <= waited[me][other]:
                    continue
                waited[me][other] = number
                if final:
                    wait[index] |= 1 << other
                    signal[number % len(steps)] |= 1 << me
                    initial[other * engines + me] += number < begin
            own = int(last.source(found[index])[me])
            if final and me in linears and own >= 0:
                after[index] = _distance(place, me, index, own, begin, len(steps))
            last.leave(found[index], begin + index, me)
    made = [
        replace(step, fields=dict(step.fields, wait=w, signal=s, after=a))
        for step, w, s, a in zip(steps, wait, signal, after, strict=True)
    ]
    return made, initial


def _places(steps: Sequence[Step], engines: int) -> tuple[list[int], list[int]]:
    """For each step how many of its engine come before it, and how many each engine has."""
    counts = [0] * engines
    place = []
    for step in steps:
        place.append(counts[step.engine])
        counts[step.engine] += 1
    return place, counts


def _distance(
    places: tuple[list[int], list[int]], engine: int, index: int, number: int, begin: int, size: int
) -> int:
    """Instructions of its engine from the one with `number` to step `index`; 0 if none can be so
    near.

    Further than the engine ever runs ahead means no wait: 255 is the field's largest.
    """
    place, counts = places
    gap = place[index] - place[number % size]
    if number < begin:
        gap += counts[engine]
    return gap if gap <= 255 else 0
