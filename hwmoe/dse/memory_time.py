"""The off-chip memory in time: the general port and the weight ports share one bandwidth."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hwmoe.plan.accelerator import AcceleratorConfig

BURST = 64  # beats, hwmoe_axi_read
DEPTH = 512  # beats that a channel's buffer holds
ASK = 8  # from a command for a channel to the request's acceptance: plan, address register
ARRIVE = 7  # from a beat at the port until it leaves the channel's buffer


@dataclass(slots=True)
class Transfer:
    """From when to when data come through a port; both may move on until they are past."""

    begin: float
    end: float

    @property
    def here(self) -> float:
        """When the last beat has left the channel's buffer."""
        return self.end + ARRIVE


@dataclass
class _Ports:
    """Ports of one kind: bytes a cycle alone and while the others are busy; busy from, until."""

    alone: float
    shared: float
    begin: float = 0.0
    end: float = 0.0
    pending: deque[Transfer] = field(default_factory=deque)

    def move(self, size: float, start: float, other: _Ports) -> Transfer:
        """Move so many bytes at the memory's pace, from `start` on or later.

        What the others have under way was placed as if these ports were idle: while both are busy,
        both become slower.
        """
        if start > self.end:
            self.begin = self.end = start
        start = self.end
        while self.pending and self.pending[0].end < start:
            self.pending.popleft()
        meet = max(start, other.begin)
        before = (meet - start) * self.alone
        if other.end <= meet or size <= before:
            self.end = start + size / self.alone
        else:
            theirs = (other.end - meet) * other.alone / other.shared
            both = min(theirs, (size - before) / self.shared)
            self.end = meet + both + (size - before - both * self.shared) / self.alone
            other._yield(meet, both)
        transfer = Transfer(start, self.end)
        self.pending.append(transfer)
        return transfer

    def _yield(self, at: float, cycles: float) -> None:
        """For so many cycles from `at` on the others are busy too."""
        slower = self.alone / self.shared - 1
        most = cycles * (1 - self.shared / self.alone)
        self.end += most
        for transfer in self.pending:
            transfer.begin += min(most, max(0.0, transfer.begin - at) * slower)
            transfer.end += min(most, max(0.0, transfer.end - at) * slower)


class OffChip:
    """All kinds of port, each in the order of its requests, which must come in the order of time.

    Reads and writes of the general port are two of them. While weights and another want data,
    every port gets the same share; what one cannot take the others get.
    """

    def __init__(self, acc: AcceleratorConfig, bytes_per_cycle: float, latency: float) -> None:
        ports, rate = acc.ports, bytes_per_cycle
        self.delay = ASK + latency
        self.beat = ports.port_bits // 8
        self.rate = rate
        self.saved = (2 + ports.w_ports) * self.beat  # by an idle memory: a beat of each channel
        self.weight_beat = self.beat * ports.w_ports
        share = rate / (1 + ports.w_ports)
        shared = min(self.beat, max(share, rate - self.weight_beat))
        self._general = _Ports(min(rate, self.beat), shared)
        self._results = _Ports(min(rate, self.beat), shared)
        rest = min(self.weight_beat, rate - shared)
        self._weights = _Ports(min(rate, self.weight_beat), rest)

    def weights(self, beats: int, asked: float) -> Transfer:
        """So many beats of all weight ports."""
        other = max(self._general, self._results, key=lambda ports: ports.end)
        start = asked + self.delay
        size = self._paced(beats * self.weight_beat, start, self.weight_beat)
        return self._weights.move(size, start, other)

    def general(self, size: int, asked: float) -> Transfer:
        """So many bytes read through the general port."""
        start = asked + self.delay
        return self._general.move(self._paced(size, start, self.beat), start, self._weights)

    def results(self, size: int, start: float) -> Transfer:
        """So many bytes written through it."""
        return self._results.move(self._paced(size, start, self.beat), start, self._weights)

    def _paced(self, size: float, start: float, beat: int) -> float:
        """Of so many bytes, those that move at the memory's pace.

        A memory that was idle has saved up some beats; they come a cycle each.
        """
        idle = start - max(self._general.end, self._results.end, self._weights.end)
        saved = min(self.saved, max(0.0, idle) * self.rate)
        return max(size - saved, size * min(1.0, self.rate / beat))
