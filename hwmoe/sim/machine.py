"""Whole-machine runs: hwmoe_top as compiled code with its off-chip memory, from start to done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hwmoe.sim import machine_registers as registers
from hwmoe.sim.checkpoint import Checkpoints, Interrupted, Kept, Place, run_parts
from hwmoe.sim.diagnosis import Awaited, StepName, diagnosis, nothing_known
from hwmoe.sim.divergence import SimulationFault
from hwmoe.sim.machine_build import build_machine, library_path
from hwmoe.sim.machine_image import MemoryImage
from hwmoe.sim.machine_library import ENGINES, STATES, load_machine
from hwmoe.sim.machine_session import (
    Captured,
    CaptureRequest,
    MachineOptions,
    MachineSession,
    Progress,
    Records,
)
from hwmoe.sim.streams import ByteArray


@dataclass(frozen=True, eq=False)
class MachineRun:
    """What one run did. Cycles count from `start_cycle`, the write to the control register.

    `memory`: as the run left it. `registers`: all of `status_registers`. `step_clipped`: clipped
    values of each step. `engine_cycles`: engine -> state -> cycles. `events`, `windows`,
    `channels`, `access_errors`: records as in hwmoe.sim.machine_library; cycles in them count from
    reset. `captures`: in the order of time.
    """

    cycles: int
    start_cycle: int
    memory: MemoryImage
    registers: dict[str, int]
    step_clipped: list[int]
    engine_cycles: dict[str, dict[str, int]]
    mac_cycles: int
    events: Records
    windows: Records
    channels: dict[str, Records]
    access_errors: Records
    captures: list[Captured]
    seconds: float

    @property
    def results(self) -> ByteArray:
        """The bytes of the results."""
        return self.memory["results"]

    @property
    def bytes_moved(self) -> int:
        """Bytes over all ports."""
        return sum(int(channel["bytes"]) for channel in self.channels.values())

    @property
    def bytes_per_cycle(self) -> float:
        """Mean use of the off-chip memory."""
        return self.bytes_moved / max(self.cycles, 1)

    @property
    def cycles_per_second(self) -> float:
        """Simulated clock cycles per second of wall time."""
        return self.cycles / self.seconds if self.seconds > 0 else 0.0


class Machine:
    """hwmoe_top of `sources` with `w_ports` weight ports, all of `port_bits`, as compiled code.

    Built once for each content of the sources: minutes if the machine is large; `notify` is told
    before. HwmoeError if it does not build or its ports differ.
    """

    def __init__(
        self,
        sources: Sequence[Path],
        port_bits: int,
        w_ports: int,
        build_dir: Path,
        *,
        optimize: str = "-O3",
        build_seconds: float = 3600.0,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        path = library_path(sources, port_bits, w_ports, build_dir, optimize)
        if notify is not None and not path.is_file():
            notify("building the simulation of the whole machine: 1 to 3 minutes if it is large")
        self.w_ports = w_ports
        self.key = path.parent.name
        self._library = load_machine(
            build_machine(sources, port_bits, w_ports, build_dir, optimize, build_seconds)
        )

    def open(
        self,
        memory: MemoryImage,
        options: MachineOptions,
        captures: Sequence[CaptureRequest] = (),
    ) -> MachineSession:
        """A machine after reset, to be worked by its registers; `memory` is used in place."""
        return MachineSession(self._library, self.w_ports, memory, options, captures)

    def run(
        self,
        memory: MemoryImage,
        n_images: int,
        options: MachineOptions,
        *,
        captures: Sequence[CaptureRequest] = (),
        steps: int = 0,
        setup: Sequence[tuple[int, int]] = (),
        cycle_limit: int = 1_000_000_000,
        seconds: float = 3600.0,
        poll_cycles: int | None = None,
        tolerate_errors: bool = False,
        progress: Callable[[Progress], None] | None = None,
        step_name: StepName = str,
        awaited: Awaited = nothing_known,
        checkpoints: Checkpoints | None = None,
    ) -> MachineRun:
        """Start on a copy of `memory` and wait for the end.

        Pointers are the addresses of the regions of `memory` of the same names. `setup`: more
        registers to write before, (address, value). `steps`: of how many steps the clipped values
        are read. The end is seen by the interrupt, or by polling the control register.
        SimulationFault, with the state of everything, if rules of AXI are broken, the limit of
        cycles or seconds is over or, unless `tolerate_errors`, if the machine reports an error or
        touches memory that does not exist. With `checkpoints`, a run that is out of `seconds` or
        is interrupted is kept there, and can be resumed: it ends as if it had never stopped.
        """
        given = {"n_images": n_images, "setup": list(setup), "poll_cycles": poll_cycles}
        parts = run_parts(self.key, memory, options, captures, **given) if checkpoints else {}
        place = Place(checkpoints, parts) if checkpoints else None
        kept = place.take() if place and place.resume else None
        with (
            self.open(memory.copy(), options, captures) as session,
            _diagnosed(session, step_name, awaited),
        ):
            started = time.perf_counter()
            if kept:
                session.restore(kept.saved)
                started -= kept.seconds
                start_cycle = kept.start_cycle
            else:
                self._start(session, n_images, setup, poll_cycles is None)
                start_cycle = session.cycle
                session.write(registers.CONTROL, registers.START)
            reason = None
            if not (kept and kept.finished):
                with _kept_if_interrupted(session, place, start_cycle, started):
                    reason = session.wait(cycle_limit, seconds, progress, poll_cycles, start_cycle)
            if reason is not None:
                if place and session.cycle - start_cycle < cycle_limit:
                    reason += f"; {_keep(session, place, start_cycle, started)}"
                raise SimulationFault(f"the machine did not finish {reason}")
            cycles, totals = session.cycle - start_cycle, session.totals()
            channels, (events, windows, errors) = session.channels(), session.lists()
            if poll_cycles is None:
                session.write(registers.INTERRUPT_STATUS, 1)  # toggles it: acknowledged
                if not session.read(registers.CONTROL) & registers.DONE:
                    raise SimulationFault("the interrupt came and ap_done is not set")
            if place:
                place.drop()
            readable = registers.status_registers(totals.engines)
            status = {name: session.read(at) for name, at in readable.items()}
            if not tolerate_errors:
                _raise_errors(status, errors)
            session.advance(options.capture_delay + 1)  # of a step that ended with the run
            return MachineRun(
                cycles=cycles,
                start_cycle=start_cycle,
                memory=session.memory,
                registers=status,
                step_clipped=[session.read(registers.step_clipped(step)) for step in range(steps)],
                engine_cycles={
                    engine: dict(zip(STATES, totals.states[i], strict=True))
                    for i, engine in enumerate(ENGINES[: totals.engines])
                },
                mac_cycles=totals.mac,
                events=events,
                windows=windows,
                channels=channels,
                access_errors=errors,
                captures=session.captures(),
                seconds=time.perf_counter() - started,
            )

    def _start(
        self,
        session: MachineSession,
        n_images: int,
        setup: Sequence[tuple[int, int]],
        interrupt: bool,
    ) -> None:
        """All but the write that starts it."""
        for name, at in registers.pointers(self.w_ports).items():
            address = session.memory.region(name).address
            session.write(at, address & 0xFFFF_FFFF)
            session.write(at + 4, address >> 32)
        session.write(registers.n_images(self.w_ports), n_images)
        for at, value in setup:
            session.write(at, value)
        session.write(registers.GLOBAL_INTERRUPT, int(interrupt))
        session.write(registers.INTERRUPT_ENABLE, int(interrupt))
        session.clear()


@contextmanager
def _diagnosed(session: MachineSession, step_name: StepName, awaited: Awaited) -> Iterator[None]:
    try:
        yield
    except SimulationFault as fault:
        told = diagnosis(session, step_name, awaited)
        raise SimulationFault(f"{fault}\n{told}") from fault


@contextmanager
def _kept_if_interrupted(
    session: MachineSession, place: Place | None, start_cycle: int, started: float
) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if place is None:
            raise
        told = _keep(session, place, start_cycle, started)
        cycles = session.cycle - start_cycle
        raise Interrupted(f"interrupted after {cycles:,} cycles; {told}") from stop


def _keep(session: MachineSession, place: Place, start_cycle: int, started: float) -> str:
    """What became of it."""
    try:
        seconds = time.perf_counter() - started
        return place.keep(Kept(session.save(), start_cycle, seconds, session.finished))
    except OSError as error:
        return f"the run could not be kept: {error}"


def _raise_errors(status: dict[str, int], errors: Records) -> None:
    code = status["error_code"]
    if code:
        raise SimulationFault(
            f"the machine reports error {code} ({registers.ERRORS.get(code, 'unknown')}),"
            f" step {status['error_step']}, detail 0x{status['error_detail']:x}"
        )
    if len(errors):
        raise SimulationFault("the machine touched memory that it may not, and reports no error")
