"""The off-chip memory of the prediction."""

from __future__ import annotations

import pytest
from dse_cases import MACHINES

from hwmoe.dse.memory_time import ASK, OffChip

ACC = MACHINES["one port"]
BEAT = ACC.ports.port_bits // 8
CHANNELS = 2 + ACC.ports.w_ports


def took(memory: OffChip, beats: int, asked: float) -> float:
    transfer = memory.general(beats * BEAT, asked)
    return transfer.end - transfer.begin


def test_an_idle_memory_has_saved_up_a_beat_of_each_channel() -> None:
    """They come a cycle each; what is behind them, and what follows at once, at its pace."""
    memory = OffChip(ACC, BEAT / 4, latency=100)
    assert took(memory, 2, 0) == pytest.approx(2)
    assert took(memory, 10, 1000) == pytest.approx(4 * (10 - CHANNELS))
    assert took(memory, 10, 1001) == pytest.approx(4 * 10)


def test_what_is_saved_is_what_the_memory_delivers_meanwhile() -> None:
    """After a pause of four cycles a beat is there."""
    memory = OffChip(ACC, BEAT / 4, latency=100)
    end = memory.general(20 * BEAT, 0).end
    assert took(memory, 10, end + 4 - ASK - 100) == pytest.approx(4 * 9)


def test_a_port_takes_a_beat_a_cycle() -> None:
    memory = OffChip(ACC, 50 * BEAT, latency=100)
    assert took(memory, 30, 0) == pytest.approx(30)
