"""Engines that write one on-chip memory take turns, a word a cycle."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from hwmoe.dse.clock import Clock, Happening, Process
from hwmoe.dse.onchip_time import MemoryPort, Results

LINEAR, EXPERT, VECTOR = 1, 5, 3
ROOM = 10


def written(chunks: dict[int, int], words: int, *, busy: tuple[float, float] = (0, 0)) -> list[int]:
    """(cycle after the last read, last write) of each engine, one after the other.

    chunks: of each, so many of `words` words; busy: words of the vector engine, and its pace.
    """
    clock = Clock()
    ports = [MemoryPort(clock) for _ in range(4)]
    found: dict[int, tuple[float, float]] = {}

    def drain(engine: int) -> Process:
        results = Results(engine, ports, ROOM, clock)
        results.begin(0)
        run = 0.0
        for _ in range(chunks[engine]):
            yield run  # as it is in a kernel: tiles are complete one after the other
            run = yield from results.write(run, words)
        while (end := results.written()) > clock.time:
            yield end
        found[engine] = run, end

    if busy[0]:
        ports[0].move(VECTOR, int(busy[0]), 0.0, busy[1])
    for engine in chunks:
        clock.start(drain(engine))
    clock.run()
    return [round(value) for engine in chunks for value in found[engine]]


def test_one_engine_writes_at_full_speed() -> None:
    assert written({LINEAR: 4}, 25) == [100, 100]


def test_two_engines_share_and_a_few_words_wait_in_each() -> None:
    linear, linear_end, expert, expert_end = written({LINEAR: 4, EXPERT: 4}, 25)
    assert linear_end == expert_end == 200
    assert 100 < linear <= expert == 200 - ROOM  # the first learns of the other as it goes


def test_a_slower_engine_keeps_its_pace() -> None:
    assert written({LINEAR: 3}, 25, busy=(50, 0.25)) == [100 - ROOM, 100]
    # 20 cycles of half, then alone
    assert written({LINEAR: 3}, 25, busy=(10, 0.5)) == [85 - ROOM, 85]


def test_who_comes_later_slows_down_what_is_under_way() -> None:
    clock = Clock()
    port = MemoryPort(clock)
    ends: list[float] = []

    def first() -> Process:
        burst = port.move(LINEAR, 100, 0.0)
        assert port.end(LINEAR, burst) == 100
        yield 40.0
        other = port.move(VECTOR, 30, 40.0)
        ends.extend((port.end(LINEAR, burst), port.end(VECTOR, other)))
        yield 150.0
        ends.append(port.end(LINEAR, port.move(LINEAR, 10, 150.0)))  # all else is done

    clock.start(first())
    clock.run()
    assert ends == pytest.approx([130, 100, 160])


def test_memories_are_independent() -> None:
    clock = Clock()
    ports = [MemoryPort(clock) for _ in range(4)]
    ports[1].move(VECTOR, 100, 0.0)
    results = Results(LINEAR, ports, ROOM, clock)
    results.begin(0)
    waits: Generator[float | Happening, None, float] = results.write(0.0, 50)
    with pytest.raises(StopIteration) as stop:
        next(waits)
    assert stop.value.value == 50
    assert results.written() == 50


def test_words_of_one_that_is_told_late_are_shared_too() -> None:
    """The vector engine's begin is known when its parameters are there, after its first word."""
    clock = Clock()
    port = MemoryPort(clock)
    seen: list[float] = []

    def run() -> Process:
        yield 112.0
        norm = port.move(VECTOR, 100, 100.0)
        yield 150.0
        load = port.move(LINEAR, 60, 150.0)
        seen.append(port.moved(LINEAR, load, 30))
        seen.append(port.end(VECTOR, norm))
        seen.append(port.end(LINEAR, load))

    clock.start(run())
    clock.run()
    assert seen == [210, 250, 260]  # half a word a cycle each, until the vector engine is through


def test_words_of_one_alone_come_at_its_pace() -> None:
    clock = Clock()
    port = MemoryPort(clock)
    burst = port.move(LINEAR, 40, 10.0, 0.5)
    assert [port.moved(LINEAR, burst, words) for words in (0, 10, 40)] == [10, 30, 90]
