"""Programs that store the residual stream, on the machines of the main programs and in between."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from whole_cases import CASES, Case, sizes_of, stored_divergence, traced

from hwmoe.codegen.hls import hls_files
from hwmoe.dse.machine_cycles import even_lengths, predict_machine
from hwmoe.plan.checker import check_program
from hwmoe.plan.fit import check_fit
from hwmoe.plan.image import constant_parts, image_records, read_logits, result_bytes
from hwmoe.plan.program import Program
from hwmoe.quant.reference import run_reference
from hwmoe.sim import machine_registers as registers
from hwmoe.sim.csim import CSim
from hwmoe.sim.hls import run_hls
from hwmoe.sim.machine import Machine
from hwmoe.sim.machine_image import MemoryImage
from hwmoe.sim.machine_session import MachineOptions
from hwmoe.sim.whole_model import simulate_model

Make = Callable[[str], Machine]
LARGE = 4096  # bytes: bursts do not cross multiples of it
CHOSEN = [case for case in CASES if not case.name.isdigit()] + CASES[4:28]


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_every_residual(case: Case, machine: Make) -> None:
    """Bit by bit, of every image; logits, clipped values and on-chip tensors too."""
    trace = traced(case)
    check_program(trace.program)
    check_fit(trace.program, *sizes_of(case.machine))
    options = MachineOptions(24.0, latency=30, stall=0.2 * (case.seed % 2), seed=case.seed)
    whole = simulate_model(
        trace.program, case.model, machine(case.machine), case.patches, case.tasks, options,
        traced=1, seconds=120,
    )  # fmt: skip
    assert whole.divergence is None, str(whole.divergence)
    assert whole.run
    assert whole.run.registers["images_done"] == whole.images == case.images == len(whole.stores)
    found = stored_divergence(trace, case.model, whole.run.results, case.patches, case.tasks)
    assert found is None, str(found)


def test_what_is_traced() -> None:
    """Dense and sparse, shared experts, odd sizes, several tasks and stages, results over 4 KiB."""
    configs = [case.net.config for case in CHOSEN]
    assert any(not config.moe_layers for config in configs)
    assert {bool(c.shared_hidden) for c in configs if c.moe_layers} == {True, False}
    assert sum(config.dim % 16 > 0 for config in configs) > 10
    assert sum(len(set(case.tasks)) > 1 for case in CHOSEN) > 5
    assert {case.program.accelerator.stages for case in CHOSEN} == {1, 2, 3}
    sizes = [traced(case).program.loop["logit_bytes"] for case in CHOSEN]
    assert sum(size > LARGE for size in sizes) >= 5
    stores = [s.fields for case in CHOSEN for s in traced(case).program.steps if s.kind == "store"]
    crossing = [
        f for f in stores if f["offset"] // LARGE < (f["offset"] + 2 * f["n_out"] - 1) // LARGE
    ]
    assert len(crossing) >= 5


@pytest.mark.parametrize("case", CHOSEN[::6], ids=lambda case: case.name)
def test_stores_take_the_time_that_is_predicted(case: Case, machine: Make) -> None:
    """Of every step that stores, the mean over the images."""
    trace, tasks = traced(case).program, [case.tasks[0]] * case.images
    options = MachineOptions(64.0, latency=30, write_latency=30, jitter=0)
    whole = simulate_model(trace, case.model, machine(case.machine), case.patches, tasks, options)
    assert whole.run
    assert whole.divergence is None
    lengths = even_lengths(trace, max(1, case.net.config.top_k))
    found = predict_machine(trace, 64.0, 30, tasks, lengths)
    stores = [i for i, step in enumerate(trace.steps) if step.kind == "store"]
    events = whole.run.events[whole.run.events["null"] == 0]
    predicted = {
        i: [end - begin for step, _, begin, end in found.trace if step == i] for i in stores
    }
    for i in (i for i in stores if predicted[i]):
        cycles = [events[(events["step"] == i) & (events["done"] == d)]["cycle"] for d in (1, 0)]
        taken = np.mean(cycles[0].astype(int) - cycles[1])
        assert taken == pytest.approx(np.mean(predicted[i]), rel=0.04, abs=10)


@pytest.fixture(scope="module")
def csim(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], CSim]:
    folder: Path = tmp_path_factory.mktemp("csim")

    @cache
    def make(name: str) -> CSim:
        acc, sizes = sizes_of(name)
        return CSim(hls_files(acc, sizes), acc, folder, ["-O1"])

    return make


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_every_residual_in_hls(case: Case, csim: Callable[[str], CSim]) -> None:
    """Images of all tasks, engines in several orders."""
    trace = traced(case)
    for seed in range(3):
        run = run_hls(trace.program, csim(case.machine), case.patches, case.tasks, seed=seed)
        results = run.logits.view(np.uint8).reshape(-1)
        found = stored_divergence(trace, case.model, results, case.patches, case.tasks)
        assert found is None, str(found)


def main_and_trace() -> Case:
    return next(
        case
        for case in CASES
        if case.machine == "narrow"
        and case.program.loop["stages"] > 1
        and len(set(case.tasks)) > 1
        and case.net.config.moe_layers
    )


def test_main_and_trace_take_turns(machine: Make) -> None:
    """On one machine that is not reset, with the same parameters and weights in memory."""
    case = main_and_trace()
    trace = traced(case)
    programs: dict[str, Program] = {"main": case.program, "trace": trace.program}
    parts = constant_parts(case.program)
    parts["images"] = image_records(case.program, case.patches, case.tasks)
    for name, program in programs.items():
        parts[f"{name}_program"] = constant_parts(program)["program"]
        parts[f"{name}_results"] = np.full(result_bytes(program, case.images), 0x77, np.uint8)
    memory = MemoryImage.build(parts, [f"{name}_results" for name in programs])
    built = machine("narrow")
    with built.open(memory, MachineOptions(24.0, latency=30, stall=0.1, seed=3)) as session:
        for name in ("main", "trace", "trace", "main", "trace", "main"):
            memory[f"{name}_results"][:] = 0x77
            regions = {"program": f"{name}_program", "results": f"{name}_results"}
            for pointer, at in registers.pointers(built.w_ports).items():
                address = memory.region(regions.get(pointer, pointer)).address
                session.write(at, address & 0xFFFF_FFFF)
                session.write(at + 4, address >> 32)
            session.write(registers.n_images(built.w_ports), case.images)
            session.write(registers.CONTROL, registers.START)
            assert session.wait(1_000_000, 60, poll_cycles=100) is None
            status = {n: session.read(at) for n, at in registers.status_registers().items()}
            assert (status["error_code"], status["images_done"]) == (0, case.images)
            results = memory[f"{name}_results"]
            for image, logits in enumerate(read_logits(programs[name], results, case.tasks)):
                one = case.patches[image : image + 1]
                expected = run_reference(case.model, one, case.tasks[image]).logits[0]
                assert np.array_equal(logits, expected), (name, image)
            if name == "trace":
                found = stored_divergence(trace, case.model, results, case.patches, case.tasks)
                assert found is None, str(found)
