"""Buffers of the simulated board: host and board apart, room given and taken back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwmoe.deploy.simulated_memory import OLD_DATA, SimulatedMemory
from hwmoe.sim.machine_image import PAGE

BASE, SIZE = 0x8_4568_5000, 64 * PAGE


class Board:
    """What PynqBuffer asks of its device."""

    def __init__(self) -> None:
        self.memory = SimulatedMemory(self, BASE, SIZE)

    def flush(self, bo: Any, offset: int, pointer: int, size: int) -> None:
        self.memory.flush(bo, offset, pointer, size)

    def invalidate(self, bo: Any, offset: int, pointer: int, size: int) -> None:
        self.memory.invalidate(bo, offset, pointer, size)


@pytest.fixture
def memory() -> SimulatedMemory:
    return Board().memory


def on_board(memory: SimulatedMemory, buffer: Any) -> np.ndarray:
    start = buffer.device_address - BASE
    return memory.image.data[start : start + buffer.nbytes]


def test_both_sides_meet_in_syncs_only(memory: SimulatedMemory) -> None:
    buffer = memory.allocate((3, 4), np.int16)
    assert (np.array(buffer) == 0).all()
    assert (on_board(memory, buffer) == OLD_DATA).all()
    buffer[:] = np.arange(12).reshape(3, 4)
    assert (on_board(memory, buffer) == OLD_DATA).all()
    buffer.sync_to_device()
    np.testing.assert_array_equal(on_board(memory, buffer).view("<i2"), np.arange(12))
    on_board(memory, buffer).view("<i2")[5] = -7
    assert buffer[1, 1] == 5
    buffer.sync_from_device()
    assert buffer[1, 1] == -7
    assert int(np.array(buffer).sum()) == 66 - 5 - 7


def test_a_part_is_synchronized_alone(memory: SimulatedMemory) -> None:
    buffer = memory.allocate((100,), "u1")
    buffer[:] = 1
    part = buffer[20:50]
    assert part.device_address == buffer.device_address + 20
    part.sync_to_device()
    told = on_board(memory, buffer)
    assert (told[20:50] == 1).all()
    assert (np.delete(told, slice(20, 50)) == OLD_DATA).all()


def test_every_buffer_has_pages_of_its_own(memory: SimulatedMemory) -> None:
    buffers = [memory.allocate((size,), "u1") for size in (1, PAGE, PAGE + 1, 0)]
    addresses = [buffer.device_address for buffer in buffers]
    assert all(address % PAGE == 0 for address in addresses)
    assert addresses == [BASE + PAGE * page for page in (0, 2, 4, 7)]
    for region in memory.image.regions:
        assert region.writable


def test_room_is_taken_back(memory: SimulatedMemory) -> None:
    kept = memory.allocate((4 * PAGE,), "u1")
    for _ in range(500):
        with memory.allocate((30 * PAGE,), "u1") as buffer:
            address = buffer.device_address
            assert address >= kept.device_address + 5 * PAGE
    assert len(memory.image.regions) == 1
    with pytest.raises(RuntimeError, match="freed: it cannot be synchronized"):
        buffer.sync_to_device()
    buffer.freebuffer()  # a second time does nothing
    view = kept[:10]
    del view  # takes nothing with it
    assert len(memory.image.regions) == 1
    del kept
    assert memory.image.regions == ()


def test_what_was_freed_is_not_soon_there_again(memory: SimulatedMemory) -> None:
    first = memory.allocate((PAGE,), "u1")
    address = first.device_address
    first.freebuffer()
    assert memory.allocate((PAGE,), "u1").device_address != address


def test_no_room(memory: SimulatedMemory) -> None:
    kept = memory.allocate((40 * PAGE,), "u1")
    with pytest.raises(RuntimeError, match="failed: 163840 of 262144 bytes are taken"):
        memory.allocate((30 * PAGE,), "u1")
    del kept
    assert memory.allocate((64 * PAGE,), "u1").nbytes == SIZE


def test_buffers_that_are_not_cached_are_refused(memory: SimulatedMemory) -> None:
    with pytest.raises(RuntimeError, match="leave out cacheable"):
        memory.allocate((4,), "u1", cacheable=0)
