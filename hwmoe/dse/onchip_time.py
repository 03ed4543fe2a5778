"""The on-chip memories in time: a word a cycle is read and one written, and engines take turns."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from hwmoe.dse.bandwidth_time import Bandwidth, Burst
from hwmoe.dse.clock import Clock, Happening
from hwmoe.plan.isa import instruction_set

_ENGINES = len(instruction_set().engines)


class MemoryPort:
    """The reads or the writes of one memory (hwmoe_act_ram). Little is computed while one engine
    uses it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends = [0.0] * _ENGINES  # of each engine's words, as far as they are known
        self._flow = _flow()  # of all words since it was last used by nobody
        self._firsts: dict[int, float] = {}  # start of each engine's first one in it
        self._lasts: dict[int, Burst] = {}

    def move(self, engine: int, words: int, start: float, pace: float = 1.0) -> Burst:
        """So many words, `pace` a cycle at most, behind the engine's earlier ones."""
        if max(self._ends) <= self._clock.time:
            self._flow = _flow()
            self._firsts.clear()
            self._lasts.clear()
        self._firsts.setdefault(engine, start)
        burst = Burst(words, start, pace)
        self._lasts[engine] = burst
        self._flow.add(engine, burst)
        self._ends[engine] = max(self._ends[engine], start) + words / pace
        return burst

    def moved(self, engine: int, burst: Burst, words: int) -> float:
        """When so many of the engine's last burst are through, as far as is known now."""
        first, mine = self._firsts.get(engine, burst.due), self._ends[engine]
        shared = any(
            self._ends[other] > first and begun < mine
            for other, begun in self._firsts.items()
            if other != engine
        )
        if shared and self._lasts.get(engine) is burst:
            self._ends[engine] = self._flow.time(burst, burst.beats)
            return self._flow.time(burst, words)
        return mine - (burst.beats - words) / burst.pace

    def end(self, engine: int, burst: Burst) -> float:
        """When the engine's last burst is through, as far as is known now."""
        return self.moved(engine, burst, burst.beats)


def _flow() -> Bandwidth:
    return Bandwidth((1,) * _ENGINES, 1.0, saved=0.0)


class Results:
    """What a linear kernel writes: some wait in its output FIFO while the memory is busy."""

    def __init__(self, engine: int, ports: Sequence[MemoryPort], room: int, clock: Clock) -> None:
        self._engine, self._ports, self._room, self._clock = engine, ports, room, clock
        self._port = ports[0]  # of the present command
        self._last: Burst | None = None

    def begin(self, space: int) -> None:
        """The next command's results go to this memory."""
        self._port, self._last = self._ports[space], None

    def write(self, run: float, words: int) -> Generator[float | Happening, None, float]:
        """Let so many be read, from `run` on; the cycle after the last."""
        port, engine, clock = self._port, self._engine, self._clock
        if self._last:
            run = max(run, port.end(engine, self._last) - self._room)
        self._last = port.move(engine, words, run)
        run += words
        while (end := port.end(engine, self._last) - self._room) > max(run, clock.time):
            yield end
        return max(run, end)

    def written(self) -> float:
        """When the command's last one is written, as far as is known; each as it is read."""
        return self._port.end(self._engine, self._last) if self._last else 0.0
