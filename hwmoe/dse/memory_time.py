"""The off-chip memory in time: requests of all channels become bursts, and share one bandwidth."""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from hwmoe.dse.bandwidth_time import Bandwidth, Burst
from hwmoe.dse.clock import Clock, Happening, Process
from hwmoe.plan.accelerator import AcceleratorConfig

BURST = 64  # beats, hwmoe_axi_read
DEPTH = 512  # beats that a channel's buffer holds
OUTSTANDING = 16  # bursts that the memory accepts ahead at a port
ASK = 8  # from a command for a channel to the request's acceptance: plan, address register
REFILL = 4  # the same for a burst that waited for room, from the beat that leaves the buffer
TURN = 2  # cycles from a burst of a port to its next one
ARRIVE = 7  # from a beat at the port until it leaves the channel's buffer


class Channel(IntEnum):
    """Who reads through the general port, in the order of their turns."""

    FETCH = 0
    PARAMS = 1
    NORM = 2
    LOAD = 3
    EXPERT_PARAMS = 4


class Transfer:
    """A request: its bursts, all accepted or not yet."""

    __slots__ = ("_parts", "beats", "memory")

    def __init__(self, memory: OffChip, beats: int) -> None:
        self.memory, self.beats = memory, beats
        self._parts: list[Burst] = []

    def accept(self, burst: Burst) -> None:
        self._parts.append(burst)

    def moved(self, beats: float) -> float:
        """When so many beats have come, as far as is known; not before, if some are not asked."""
        left = beats
        for part in self._parts:
            if left <= part.beats:
                return self.memory.bandwidth.time(part, left)
            left -= part.beats
        return self.memory.clock.time + self.memory.latency

    def at(self, beats: float) -> float:
        """When so many beats have left the channel's buffer."""
        return self.moved(beats) + ARRIVE

    @property
    def here(self) -> float:
        """When the last beat has."""
        return self.at(self.beats)


class _Port:
    """Requests of its channels take turns, a burst each; so many may be under way."""

    def __init__(self, queue: int, memory: OffChip, channels: int) -> None:
        self._queue, self._memory, self._turns = queue, memory, channels > 1
        self._waiting: dict[int, deque[tuple[float, int, Transfer]]] = {}
        self._count = 0  # of bursts that wait
        self._last = -1  # channel that had its turn
        self._free = 0.0  # when another burst may have one
        self._under_way: deque[Burst] = deque()
        self._asked = Happening(memory.clock)
        memory.clock.start(self._serve())

    def ask(self, channel: int, transfer: Transfer, sizes: list[int], time: float) -> None:
        """Bursts of these sizes, ready to be accepted at `time`."""
        if not self._turns and not self._count and len(sizes) == 1 and self._room() is None:
            self._accept(transfer, sizes[0], max(time, self._free))
            return
        waiting = self._waiting.setdefault(channel, deque())
        waiting.extend((time, size, transfer) for size in sizes)
        self._count += len(sizes)
        self._asked.now()

    def _room(self) -> float | None:
        """When one that is under way is complete, if no more may be; None if there is room."""
        clock, first = self._memory.clock, self._under_way
        while len(first) >= OUTSTANDING:
            end = self._memory.bandwidth.time(first[0], first[0].beats)
            if end > clock.time:
                return end
            first.popleft()
        return None

    def _accept(self, transfer: Transfer, size: int, time: float) -> None:
        memory = self._memory
        burst = Burst(size, time + memory.latency)
        memory.bandwidth.forget(memory.clock.time)
        memory.bandwidth.add(self._queue, burst)
        self._under_way.append(burst)
        transfer.accept(burst)
        self._free = time + TURN

    def _serve(self) -> Process:
        clock = self._memory.clock
        while True:
            if not self._count:
                yield self._asked
                continue
            ready = max(self._free, min(line[0][0] for line in self._waiting.values() if line))
            if ready > clock.time:
                yield ready
                continue
            turns = [c for c, line in self._waiting.items() if line and line[0][0] <= clock.time]
            self._last = min(turns, key=lambda c: (c <= self._last, c))
            _, size, transfer = self._waiting[self._last].popleft()
            while end := self._room():
                yield end
            self._count -= 1
            self._accept(transfer, size, clock.time)


class OffChip:
    """The general port reads for channels, and writes; all weight ports work in step."""

    def __init__(
        self, acc: AcceleratorConfig, bytes_per_cycle: float, latency: float, clock: Clock
    ) -> None:
        self.clock, self.latency = clock, latency
        self.beat = acc.ports.port_bits // 8
        self.bandwidth = Bandwidth((1, acc.ports.w_ports, 1), bytes_per_cycle / self.beat)
        self._general = _Port(0, self, len(Channel))
        self._weights = _Port(1, self, len(acc.linears))

    def weights(self, client: int, beats: int, asked: float) -> Transfer:
        """A burst of so many beats of all weight ports."""
        transfer = Transfer(self, beats)
        self._weights.ask(client, transfer, [beats], asked + ASK)
        return transfer

    def general(self, channel: Channel, beats: int, asked: float, address: int = 0) -> Transfer:
        """So many beats read through the general port, from an address in beats on."""
        transfer, sizes = Transfer(self, beats), []
        while beats > 0:
            size = min(beats, BURST - address % BURST)
            sizes.append(size)
            address, beats = address + size, beats - size
        self._general.ask(channel, transfer, sizes, asked + ASK)
        return transfer

    def results(self, beats: int, start: float, pace: float) -> Transfer:
        """A burst written through it, a beat in `pace` cycles at most."""
        transfer = Transfer(self, beats)
        burst = Burst(beats, start, 1 / pace)
        self.bandwidth.add(2, burst)
        transfer.accept(burst)
        return transfer
