"""A program whose tokens never come, which the checker would refuse: named, and recovered from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from built_machine import compiled, small_net, small_project

from hwmoe.errors import HwmoeError
from hwmoe.flow.hardware import HardwareModel
from hwmoe.flow.rtl import build_machine
from hwmoe.plan.checker import check_program
from hwmoe.plan.image import constant_parts, image_records, read_logits, result_bytes
from hwmoe.plan.program import Program
from hwmoe.plan.tokens import pack_counters, unpack_counters
from hwmoe.quant.calibrate import no_progress
from hwmoe.quant.reference import run_reference
from hwmoe.sim import machine_registers as registers
from hwmoe.sim.diagnosis import diagnosis, missing_tokens
from hwmoe.sim.machine import Machine, MachineRun
from hwmoe.sim.machine_image import MemoryImage
from hwmoe.sim.machine_library import ENGINES
from hwmoe.sim.machine_session import MachineOptions, MachineSession
from hwmoe.sim.whole_model import simulate_model

OPTIONS = MachineOptions(24.0, latency=30, stall=0.1, seed=2)
TASKS = (0, 1, 1)
LIMIT = 60_000  # cycles; a good run takes a third
PAIRS = [("load", "linear"), ("linear", "vector"), ("vector", "linear"), ("linear", "attention")]
BAD = "bad_program"


@pytest.fixture(scope="module")
def hardware(tmp_path_factory: pytest.TempPathFactory) -> HardwareModel:
    model = small_project()
    model.write(tmp_path_factory.mktemp("deadlock") / "project")
    return compiled(model, tmp_path_factory)


@pytest.fixture(scope="module")
def machine(hardware: HardwareModel) -> Machine:
    assert hardware.folder
    build_dir = hardware.folder / "build"
    return build_machine(hardware.project, hardware.folder, build_dir, no_progress)


def without_tokens(program: Program, giver: str, taker: str) -> tuple[Program, str]:
    """No instruction of `giver` signals `taker`, nor is a token there at the start; the name of the
    first that then waits for ever."""
    engines = program.accelerator.engines
    one, other = engines.index(giver), engines.index(taker)
    steps = [
        replace(s, fields=dict(s.fields) | {"signal": s.fields["signal"] & ~(1 << other)})
        if s.engine == one
        else s
        for s in program.steps
    ]
    counters = unpack_counters(program.loop, len(engines))
    counters[len(engines) * one + other] = 0
    loop = dict(program.loop) | pack_counters(counters)
    stuck = next(s for s in steps if s.engine == other and s.fields["wait"] >> one & 1)
    return replace(program, steps=tuple(steps), loop=loop), stuck.name


def start(session: MachineSession, w_ports: int, program: str) -> None:
    for name, at in registers.pointers(w_ports).items():
        address = session.memory.region(program if name == "program" else name).address
        session.write(at, address & 0xFFFF_FFFF)
        session.write(at + 4, address >> 32)
    session.write(registers.n_images(w_ports), len(TASKS))
    session.write(registers.GLOBAL_INTERRUPT, 1)
    session.write(registers.INTERRUPT_ENABLE, 1)
    session.clear()
    session.write(registers.CONTROL, registers.START)


@pytest.mark.parametrize(("giver", "taker"), PAIRS)
def test_reset_recovers(giver: str, taker: str, hardware: HardwareModel, machine: Machine) -> None:
    program, patches = hardware.project.program, small_net().patches
    bad, stuck = without_tokens(program, giver, taker)
    with pytest.raises(HwmoeError, match="not sound"):
        check_program(bad)
    results = np.full(result_bytes(program, len(patches)), 0x77, np.uint8)
    images = image_records(program, patches, TASKS)
    parts = constant_parts(program) | {"images": images, "results": results}
    parts[BAD] = bad.encode().reshape(-1).view(np.uint8)
    with machine.open(MemoryImage.build(parts, ["results"]), OPTIONS) as session:
        start(session, machine.w_ports, BAD)
        assert session.wait(LIMIT, 60) == f"within {LIMIT} cycles"
        told = diagnosis(session, awaited=partial(missing_tokens, bad))
        line = next(line for line in told.splitlines() if line.startswith(f"  {taker}: waiting"))
        assert line.endswith(f"; waits for a token of {giver} to begin {stuck}")
        # It is for ever: nothing comes, and starting again does not help.
        events = session.totals().events
        session.write(registers.CONTROL, registers.START)
        session.advance(LIMIT)
        assert session.totals().events == events
        assert not session.read(registers.CONTROL) & (registers.DONE | registers.IDLE)

        session.reset()
        assert session.read(registers.CONTROL) & registers.IDLE
        start(session, machine.w_ports, "program")
        assert session.wait(LIMIT, 60) is None
        assert session.read(registers.status_registers()["error_code"]) == 0
        assert session.read(registers.status_registers()["images_done"]) == len(TASKS)
        logits = read_logits(program, session.memory["results"], TASKS)
        for image, task in enumerate(TASKS):
            expected = run_reference(hardware.quantized, patches[image : image + 1], task)
            np.testing.assert_array_equal(logits[image], expected.logits[0])


@dataclass
class Impatient:
    """A machine that is given few cycles."""

    machine: Machine

    def run(self, *given: Any, **more: Any) -> MachineRun:
        return self.machine.run(*given, **more | {"cycle_limit": LIMIT})


def test_a_run_of_a_model_says_who_waits_for_whom(
    hardware: HardwareModel, machine: Machine
) -> None:
    bad, stuck = without_tokens(hardware.project.program, "linear", "vector")
    patches = small_net().patches
    run = partial(simulate_model, bad, hardware.quantized)
    whole = run(Impatient(machine), patches, TASKS, OPTIONS)  # type: ignore[arg-type]
    told = str(whole.divergence)
    assert f"the machine did not finish within {LIMIT} cycles" in told
    assert f"waits for a token of linear to begin {stuck}" in told
    waiting = [line.split(":")[0].strip() for line in told.splitlines() if "; waits for" in line]
    assert "vector" in waiting
    assert set(waiting) <= set(ENGINES)
