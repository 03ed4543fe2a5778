"""One bandwidth, shared by ports in time: bursts as a flow that is known ahead until one is added.

The memory is a bucket of tokens (templates/sim/machine_memory.hpp): a beat costs its bytes, what is
not used is kept up to a limit, and ports that want a beat take turns. Between two events every port
moves at a steady rate, so the future of all accepted bursts is a short list of events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

FEW = 1e-6  # beats or cycles that are none
INFINITE = float("inf")
OLD = 64  # known states that are kept before those of the past are forgotten


@dataclass(slots=True, eq=False)
class Burst:
    """Beats through one kind of port, from `due` on at the earliest, `pace` a cycle at most.

    points: (time, beats moved until then), from the first beat to the last that is foreseen.
    """

    beats: int
    due: float
    pace: float = 1.0
    points: list[tuple[float, float]] = field(default_factory=list)


class _State(NamedTuple):
    """At a time: tokens in beats; of each queue the burst at its head and what it has moved."""

    time: float
    credit: float
    heads: tuple[int, ...]
    moved: tuple[float, ...]


class Bandwidth:
    """Queues of bursts, each over so many ports in step; `rate`: beats a cycle of all ports.

    `saved`: tokens that are kept at most; as the simulated memory, a beat of each port besides.
    """

    def __init__(self, ports: Sequence[int], rate: float, saved: float | None = None) -> None:
        self._ports, self._rate = tuple(ports), rate
        self._most = rate + sum(ports) if saved is None else saved
        none = (0.0,) * len(ports)
        self._queues: list[list[Burst]] = [[] for _ in ports]
        self._states = [_State(0.0, self._most, (0,) * len(ports), none)]
        self._known = True  # the states reach to the end of all bursts

    def add(self, queue: int, burst: Burst) -> None:
        """Behind all of this queue. Bursts are added in the order of time, before they are due."""
        mine = self._queues[queue]
        place = len(mine)
        mine.append(burst)
        # What was foreseen holds until this one may begin: it is due, and those before are through.
        states = self._states
        while len(states) > 1 and states[-1].time > burst.due and states[-2].heads[queue] >= place:
            states.pop()
        self._known = False

    def time(self, burst: Burst, beats: float) -> float:
        """When so many beats of it have moved, as far as is known now."""
        if not self._known and not self._holds(burst, beats):
            self._foresee()
        if beats >= burst.beats:
            return burst.points[-1][0]
        before, done = burst.points[0]
        for time, moved in burst.points:
            if moved >= beats - FEW:
                if moved <= done:
                    return time
                return before + (time - before) * (beats - done) / (moved - done)
            before, done = time, moved
        return before

    def forget(self, now: float) -> None:
        """What has been before `now` is not needed any more."""
        if len(self._states) > OLD:
            last = max((i for i, state in enumerate(self._states) if state.time <= now), default=0)
            del self._states[:last]

    def _holds(self, burst: Burst, beats: float) -> bool:
        """Whether what was foreseen of it holds, whatever was added."""
        if not burst.points:
            return False
        time, moved = burst.points[-1]
        return moved >= beats and time <= self._states[-1].time

    def _foresee(self) -> None:
        """Go on from the last state that holds to the end of all bursts."""
        state = self._states[-1]
        for queue, bursts in enumerate(self._queues):
            for place in range(state.heads[queue], len(bursts)):
                points = bursts[place].points
                while points and points[-1][0] > state.time + FEW:
                    points.pop()
                if place > state.heads[queue]:
                    points.clear()
        ends = tuple(len(bursts) for bursts in self._queues)
        while state.heads != ends:
            state = self._next(state)
            self._states.append(state)
        self._known = True

    def _next(self, state: _State) -> _State:
        """The state when the next burst is through."""
        time, credit, heads, moved = state.time, state.credit, list(state.heads), list(state.moved)
        while True:
            active, want, due = self._active(time, heads)
            scarce = want > self._rate
            slow = scarce and credit <= FEW
            rates = self._shares(active, want) if slow else [burst.pace for _, burst in active]
            step = due - time
            if scarce and not slow:
                step = min(step, credit / (want - self._rate))
            for (queue, burst), rate in zip(active, rates, strict=True):
                step = min(step, (burst.beats - moved[queue]) / rate)
            through = False
            for (queue, burst), rate in zip(active, rates, strict=True):
                done = min(moved[queue] + rate * step, burst.beats)
                if burst.beats - done < FEW:
                    done, through = burst.beats, True
                    heads[queue] += 1
                if not burst.points:
                    burst.points.append((time, 0.0))
                burst.points.append((time + step, done))
                moved[queue] = 0.0 if done == burst.beats else done
            time += step
            credit = 0.0 if slow else min(self._most, credit + (self._rate - want) * step)
            if through:
                return _State(time, credit, tuple(heads), tuple(moved))

    def _active(
        self, time: float, heads: Sequence[int]
    ) -> tuple[list[tuple[int, Burst]], float, float]:
        """Queues that move, beats that they want in a cycle, and when another one will."""
        active, want, due = [], 0.0, INFINITE
        for queue, bursts in enumerate(self._queues):
            if heads[queue] < len(bursts):
                burst = bursts[heads[queue]]
                if burst.due <= time + FEW:
                    active.append((queue, burst))
                    want += burst.pace * self._ports[queue]
                else:
                    due = min(due, burst.due)
        return active, want, due

    def _shares(self, active: Sequence[tuple[int, Burst]], want: float) -> list[float]:
        """Beats a cycle of each: all the same, unless one cannot take its share."""
        if len(active) == 1:
            return [self._rate / want * active[0][1].pace]
        rates = [0.0] * len(active)
        left, ports = self._rate, sum(self._ports[queue] for queue, _ in active)
        for i in sorted(range(len(active)), key=lambda i: active[i][1].pace):
            queue, burst = active[i]
            rates[i] = min(burst.pace, left / ports)
            left -= rates[i] * self._ports[queue]
            ports -= self._ports[queue]
        return rates
