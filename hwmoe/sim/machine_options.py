"""What a simulated machine is given, and what it tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from hwmoe.errors import HwmoeError
from hwmoe.sim.machine_library import NO_ADDRESS, Config
from hwmoe.sim.streams import ByteArray


@dataclass(frozen=True)
class MachineOptions:
    """The board's memory, and how hard the bench is on the machine.

    `bytes_per_cycle`: usable bandwidth of all ports together. `latency`: cycles from a read request
    to its first beat, 0 to `jitter` more at random; `write_latency`: from the last beat to the
    response. `outstanding`: bursts a port accepts ahead. `stall`: probability with which any
    channel of any port, the control port too, holds back in a cycle. `fault_address`: an access
    to this byte gets SLVERR. `capture_delay`: cycles from the completion of a step to its capture.
    `power_up_seed`: registers and RAM at power-up, 0: all zero, otherwise random.
    """

    bytes_per_cycle: float
    latency: int = 150
    jitter: int = 16
    write_latency: int = 150
    outstanding: int = 16
    stall: float = 0.0
    seed: int = 0
    fault_address: int | None = None
    capture_delay: int = 4
    power_up_seed: int = 0

    def __post_init__(self) -> None:
        if not self.bytes_per_cycle > 0 or not 0 <= self.stall < 1 or self.outstanding < 1:
            raise HwmoeError(
                "options of the simulated memory: bytes_per_cycle must be above 0, stall at least"
                f" 0 and below 1, outstanding at least 1: {self}"
            )
        if min(self.latency, self.write_latency) < 1 or min(self.jitter, self.capture_delay) < 0:
            raise HwmoeError(
                "options of the simulated memory: latencies must be at least 1 cycle, jitter and"
                f" capture_delay at least 0: {self}"
            )


@dataclass(frozen=True)
class CaptureRequest:
    """Copy `words` words from `base` of a memory (MEMORIES) each time `step` is complete."""

    step: int
    memory: str
    base: int
    words: int


@dataclass(frozen=True, eq=False)
class Captured:
    """What a memory held: uint8 [words, bytes a word], lane 0 first."""

    request: CaptureRequest
    cycle: int
    data: ByteArray


@dataclass(frozen=True)
class Progress:
    """Where a run is: cycles since it began, wall time, steps begun and completed so far."""

    cycles: int
    seconds: float
    events: int


def config(options: MachineOptions) -> Config:
    """As the library takes them."""
    fields = {name: getattr(options, name) for name, _ in Config._fields_}
    if options.fault_address is None:
        fields["fault_address"] = NO_ADDRESS
    return Config(**fields)
