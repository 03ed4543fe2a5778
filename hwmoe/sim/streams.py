"""What a bench feeds a kernel and what it gets back, whichever simulator runs it.

Time, in every bench: cycle 0 is the first rising clock edge after the release of reset. A beat
is transferred in cycle n if TVALID and TREADY are both high just before edge n. Inputs may show
TVALID from cycle 1 on (AXI4-Stream A2.8.2), outputs may be taken from cycle 0 on.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwmoe.errors import HwmoeError
from hwmoe.sim.divergence import SimulationFault

ByteArray = npt.NDArray[np.uint8]
StampArray = npt.NDArray[np.int64]

RESET_CYCLES = 8
DRAIN_CYCLES = 64  # watched for surplus beats after the last expected transfer
POISON = 0xA5  # on TDATA of an input while TVALID is low: data taken then must not look right
_RUNS = 1024

# Breaches of the handshake, by the code the benches report.
FAULTS = {
    1: "dropped TVALID before TREADY came",
    2: "changed TDATA while TVALID waited for TREADY",
    3: "offered a beat more than the {expected} expected",
    4: "held TVALID high during reset",
    5: "drove X or Z",
}


@dataclass(frozen=True, eq=False)
class StreamCase:
    """One run: beats for every input port, number of beats expected from every output port.

    `inputs`: port name (as `s_axis_x`, without _TDATA) -> uint8 [beats, bytes a beat], byte 0 in
    bits 7:0. A port of the kernel that is missing gets, or is expected to give, no beat.
    """

    name: str
    inputs: Mapping[str, ByteArray]
    outputs: Mapping[str, int]

    def __post_init__(self) -> None:
        for port, data in self.inputs.items():
            if data.dtype != np.uint8 or data.ndim != 2:
                raise ValueError(
                    f"case '{self.name}': {port} must be uint8 [beats, bytes], not "
                    f"{data.dtype} {list(data.shape)}"
                )
        for port, beats in self.outputs.items():
            if beats < 0 or port in self.inputs:
                raise ValueError(f"case '{self.name}': {port} cannot be an output of {beats} beats")

    def expected(self) -> dict[str, int]:
        """Beats to transfer on each port, inputs first."""
        return {port: len(data) for port, data in self.inputs.items()} | dict(self.outputs)


@dataclass(frozen=True, eq=False)
class StreamResult:
    """What came out of one run.

    `outputs`: port -> uint8 [beats, bytes a beat]. `stamps`: port (inputs too) -> int64 [beats],
    the cycle in which each beat was transferred. `cycles`: last such cycle + 1.
    `seconds`: wall time of the run.
    """

    outputs: dict[str, ByteArray]
    stamps: dict[str, StampArray]
    cycles: int
    seconds: float = 0.0

    @property
    def cycles_per_second(self) -> float:
        """Simulated clock cycles per second of wall time."""
        return self.cycles / self.seconds if self.seconds > 0 else 0.0


def stall_schedule(port: str, stall: float, seed: int) -> StampArray:
    """Lengths of open and closed spells of a port in turn, open first; repeated for ever.

    About `stall` of the cycles are closed. [] if `stall` is 0. An input's open spell counts beats
    offered, its closed spell cycles without TVALID. An output's open spell counts cycles of
    TREADY, its closed spell cycles in which TVALID waits: so a kernel that waits for TREADY
    before it raises TVALID, which AXI4-Stream forbids, comes to a standstill and is found.
    """
    if not 0.0 <= stall < 1.0:
        raise HwmoeError(f"stall is {stall}: it must be at least 0 and below 1")
    if stall == 0.0:
        return np.zeros(0, np.int64)
    rng = np.random.default_rng([seed, zlib.crc32(port.encode())])
    # Mostly single cycles, some short gaps, and a few long ones that fill every FIFO behind.
    kind = rng.random(_RUNS)
    closed = np.where(
        kind < 0.625,
        1,
        np.where(kind < 0.9375, rng.integers(2, 6, _RUNS), rng.integers(8, 25, _RUNS)),
    )
    mean_open = closed.mean() * (1.0 - stall) / stall
    if mean_open >= 1.0:
        open_ = rng.geometric(1.0 / mean_open, _RUNS)
    else:  # heavy stalling: single open cycles, longer gaps
        open_ = np.ones(_RUNS, np.int64)
        closed = np.ceil(closed / mean_open).astype(np.int64)
    open_[0] = rng.integers(0, 2) * open_[0]  # some ports start closed
    schedule: StampArray = np.stack([open_, closed], axis=1).reshape(-1).astype(np.int64)
    return schedule


def progress_table(case: StreamCase, done: Mapping[str, int]) -> str:
    """One line a port: how many of its beats were transferred."""
    lines = []
    for port, beats in case.expected().items():
        side = "in " if port in case.inputs else "out"
        mark = "" if done.get(port, 0) == beats else "   <- unfinished"
        lines.append(f"  {side} {port}: {done.get(port, 0)} of {beats} beats{mark}")
    return "\n".join(lines)


def timeout_error(case: StreamCase, cycles: int, done: Mapping[str, int]) -> SimulationFault:
    """The error of a run that did not finish within `cycles`."""
    return SimulationFault(
        f"case '{case.name}' did not finish within {cycles} cycles: a deadlock, or raise"
        f" timeout_cycles. Beats transferred:\n{progress_table(case, done)}"
    )


def fault_error(
    case: StreamCase, code: int, port: str, cycle: int, done: Mapping[str, int]
) -> SimulationFault:
    """The error of a breach of the handshake by `port` in `cycle` (negative: during reset)."""
    what = FAULTS[code].format(expected=case.expected().get(port, 0))
    return SimulationFault(
        f"case '{case.name}': {port} {what}, in cycle {cycle}. Beats transferred:\n"
        f"{progress_table(case, done)}"
    )


def port_widths(cases: Sequence[StreamCase]) -> tuple[dict[str, int], list[str]]:
    """Bytes a beat of every input port of `cases`, and the names of all output ports."""
    widths: dict[str, int] = {}
    outputs: dict[str, None] = {}
    for case in cases:
        for port, data in case.inputs.items():
            if widths.setdefault(port, data.shape[1]) != data.shape[1]:
                raise HwmoeError(
                    f"case '{case.name}' gives {port} {data.shape[1]} bytes a beat, an earlier"
                    f" case {widths[port]}"
                )
        outputs.update(dict.fromkeys(case.outputs))
    return widths, list(outputs)
