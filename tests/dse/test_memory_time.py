"""The off-chip memory of the prediction."""

from __future__ import annotations

import pytest
from dse_cases import MACHINES

from hwmoe.dse.bandwidth_time import Bandwidth, Burst
from hwmoe.dse.clock import Clock, Process
from hwmoe.dse.memory_time import ARRIVE, ASK, BURST, OUTSTANDING, TURN, Channel, OffChip, Transfer

ACC = MACHINES["one port"]
BEAT = ACC.ports.port_bits // 8
PORTS = 2 + ACC.ports.w_ports
LATENCY = 100


def memory(beats_per_cycle: float) -> OffChip:
    return OffChip(ACC, beats_per_cycle * BEAT, LATENCY, Clock())


def settle(*transfers: Transfer) -> list[tuple[float, float]]:
    """Run all that was asked; first beat on its way, last beat there."""
    clock = transfers[0].memory.clock

    def wait() -> Process:
        for transfer in transfers:
            while transfer.here > clock.time:
                yield transfer.here

    clock.start(wait())
    clock.run()
    return [(one.moved(1) - 1, one.moved(one.beats)) for one in transfers]


def test_an_idle_memory_has_saved_up_a_beat_of_each_port() -> None:
    """They come a cycle each; what is behind them, and what follows at once, at its pace."""
    slow = memory(1 / 4)
    first, second = settle(
        slow.general(Channel.LOAD, 10, 0), slow.general(Channel.LOAD, 10, 1, address=BURST)
    )
    assert first[0] == ASK + LATENCY
    fast = (PORTS + 1 / 4) / (1 - 1 / 4)  # cycles until all that is saved is used
    assert first[1] - first[0] == pytest.approx(fast + 4 * (10 - fast))
    assert second[1] - first[1] == pytest.approx(4 * 10)


def test_a_port_takes_a_beat_a_cycle() -> None:
    ((begin, end),) = settle(memory(50).general(Channel.FETCH, 30, 0))
    assert end - begin == pytest.approx(30)


def test_a_transfer_is_here_when_it_has_left_the_buffer() -> None:
    transfer = memory(50).general(Channel.FETCH, 30, 0)
    ((_, end),) = settle(transfer)
    assert transfer.here == end + ARRIVE
    assert transfer.at(10) == pytest.approx(transfer.here - 20)


def test_ports_that_want_beats_take_turns() -> None:
    """All get the same share of a slow memory, whatever came first; then one has it alone."""
    flow = Bandwidth((1, 3), 0.5)
    alone, shared = Burst(20, 0.0), Burst(10, 20.0)
    flow.add(0, alone)
    used = (0.5 + 4) / 0.5  # cycles until all that was saved is used
    assert flow.time(alone, 20) == pytest.approx(used + (20 - used) / 0.5)
    flow.add(1, shared)  # what was foreseen changes from cycle 20 on
    left = 20 - used - (20 - used) * 0.5
    assert flow.time(alone, 20) == pytest.approx(20 + left * 4 / 0.5)
    both = left * 4 / 0.5
    assert flow.time(shared, 10) == pytest.approx(20 + both + (10 - left) * 3 / 0.5)


def test_a_port_that_is_slow_itself_leaves_its_share() -> None:
    flow = Bandwidth((1, 1), 1.0)
    slow, fast = Burst(10, 0.0, pace=0.25), Burst(300, 0.0)
    flow.add(0, slow)
    flow.add(1, fast)
    assert flow.time(slow, 10) == pytest.approx(40)
    saved = (1.0 + 2) / 0.25
    alone = 40.0 - saved
    before = saved + alone * 0.75
    assert flow.time(fast, 300) == pytest.approx(40 + 300 - before)


def test_what_is_foreseen_does_not_depend_on_when_it_was_asked_for() -> None:
    """Looking ahead between additions changes nothing."""
    bursts = [(0, 64, 5.0), (1, 64, 9.0), (0, 7, 30.0), (1, 64, 31.0), (0, 64, 400.0)]

    def ends(look: bool) -> list[float]:
        flow, made = Bandwidth((1, 2), 0.7), []
        for queue, beats, due in bursts:
            made.append(Burst(beats, due))
            flow.add(queue, made[-1])
            if look:
                flow.time(made[-1], 1)
        return [flow.time(burst, burst.beats) for burst in made]

    assert ends(True) == pytest.approx(ends(False))


def test_channels_take_turns_burst_by_burst() -> None:
    """A request of many bursts does not hold back another that comes with it."""
    one = memory(50)
    long = one.general(Channel.FETCH, 4 * BURST, 0)
    short = one.general(Channel.LOAD, 1, 0)
    settle(long, short)
    assert short.moved(1) == pytest.approx(long.moved(BURST) + 1)
    assert long.moved(BURST + 1) == pytest.approx(long.moved(BURST) + 2)


def test_a_port_has_so_many_bursts_under_way() -> None:
    """The next one is accepted when the first is complete."""
    one = memory(50)
    many = [one.general(Channel.LOAD, 1, 0, address=i) for i in range(OUTSTANDING + 1)]
    found = settle(*many)
    assert [begin for begin, _ in found[:3]] == [ASK + LATENCY + TURN * i for i in range(3)]
    assert found[-1][0] == pytest.approx(found[0][1] + LATENCY)
