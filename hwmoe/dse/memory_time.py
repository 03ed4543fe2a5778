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

    def __init__(self, queue: int, memory: OffChip) -> None:
        self._queue, self._memory = queue, memory
        self._waiting: dict[int, deque[tuple[float, int, Transfer]]] = {}
        self._last = -1  # channel that had its turn
        self._under_way: deque[Burst] = deque()
        self._asked = Happening(memory.clock)
        memory.clock.start(self._serve())

    def ask(self, channel: int, transfer: Transfer, sizes: list[int], time: float) -> None:
        """Bursts of these sizes, ready to be accepted at `time`."""
        waiting = self._waiting.setdefault(channel, deque())
        waiting.extend((time, size, transfer) for size in sizes)
        self._asked.now()

    def _serve(self) -> Process:
        memory, clock = self._memory, self._memory.clock
        while True:
            ready = min((line[0][0] for line in self._waiting.values() if line), default=None)
            if ready is None:
                yield self._asked
                continue
            if ready > clock.time:
                yield ready
                continue
            turns = [c for c, line in self._waiting.items() if line and line[0][0] <= clock.time]
            channel = min(turns, key=lambda c: (c <= self._last, c))
            self._last = channel
            _, size, transfer = self._waiting[channel].popleft()
            while len(self._under_way) >= OUTSTANDING:
                first = self._under_way[0]
                if (end := memory.bandwidth.time(first, first.beats)) > clock.time:
                    yield end
                else:
                    self._under_way.popleft()
            burst = Burst(size, clock.time + memory.latency)
            memory.bandwidth.forget(clock.time)
            memory.bandwidth.add(self._queue, burst)
            self._under_way.append(burst)
            transfer.accept(burst)
            yield clock.time + TURN


class OffChip:
    """The general port reads for channels, and writes; all weight ports work in step."""

    def __init__(
        self, acc: AcceleratorConfig, bytes_per_cycle: float, latency: float, clock: Clock
    ) -> None:
        self.clock, self.latency = clock, latency
        self.beat = acc.ports.port_bits // 8
        self.bandwidth = Bandwidth((1, acc.ports.w_ports, 1), bytes_per_cycle / self.beat)
        self._general, self._weights = _Port(0, self), _Port(1, self)

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
