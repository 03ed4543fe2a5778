"""Many models on two machines in SystemVerilog: every tensor, logit and count of clipped values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from whole_cases import CASES, LANES, Case, sizes_of

from hwmoe.dse.machine_cycles import predict_machine
from hwmoe.plan.checker import check_program
from hwmoe.plan.fit import check_fit
from hwmoe.quant.reference import run_reference
from hwmoe.sim.machine import Machine, MachineRun
from hwmoe.sim.machine_session import MachineOptions
from hwmoe.sim.routing import routed_lengths
from hwmoe.sim.whole_model import WholeRun, machine_memory, simulate_model

Make = Callable[[str], Machine]
PLAIN = MachineOptions(bytes_per_cycle=24.0, latency=30, write_latency=30)


def run(case: Case, machine: Make, options: MachineOptions = PLAIN, traced: int = 2) -> WholeRun:
    """Everything is as in the reference."""
    whole = simulate_model(
        case.program,
        case.model,
        machine(case.machine),
        case.patches,
        case.tasks,
        options,
        traced=min(traced, case.images),
        seconds=120,
    )
    assert whole.divergence is None, str(whole.divergence)
    assert whole.images == case.images
    return whole


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_models(case: Case, machine: Make) -> None:
    check_fit(case.program, *sizes_of(case.machine))
    check_program(case.program)
    whole = run(case, machine)
    assert whole.run
    assert whole.run.registers["images_done"] == case.images
    steps = [s for _, s in case.program.of_task(case.tasks[0]) if s.result.channels]
    assert whole.tensors > len({s.name for s in steps}) // 3


@pytest.mark.parametrize("case", CASES[1:92:9], ids=lambda case: case.name)
def test_cycles_are_as_predicted(case: Case, machine: Make) -> None:
    """Larger machines and models, held out: benchmarks/cycles.py."""
    whole = run(case, machine, traced=0)
    lengths = routed_lengths(case.program, case.model, case.patches, case.tasks)
    latency = PLAIN.latency + PLAIN.jitter / 2
    found = predict_machine(case.program, PLAIN.bytes_per_cycle, latency, case.tasks, lengths)
    first, steady = found.latency - whole.latency, found.cycles_per_image - whole.cycles_per_image
    print(f"{case.name}: {first:+} of {whole.latency}, {steady:+.0f} of {whole.cycles_per_image}")
    assert abs(first) <= 0.03 * whole.latency
    assert abs(steady) <= 0.03 * whole.cycles_per_image


def test_what_the_models_are() -> None:
    """At least 100, and no corner is missing."""
    assert len(CASES) >= 100
    configs = [case.net.config for case in CASES]
    moe = [config for config in configs if config.moe_layers]
    assert {1, 2, 3} <= {len(config.tasks) for config in configs}
    assert {config.tokens for config in configs} >= {2, 20}
    assert any(config.experts == 1 for config in moe)
    of_all = [config for config in moe if config.gate_scores == "all"]
    assert {config.top_k == config.experts for config in of_all} == {True, False}
    assert sum(config.top_k == 1 < config.experts for config in of_all) >= 2
    assert {name: sizes_of(name)[0].gate.all_scores for name in LANES} == {
        "narrow": True, "wide": False, "apart": True,
    }  # fmt: skip
    assert sum(config.top_k == config.experts > 1 for config in moe) >= 5
    assert {bool(config.shared_hidden) for config in moe} == {True, False}
    for lanes in LANES.values():
        assert sum(config.dim % lanes.linear.t_in > 0 for config in configs) >= 50
    assert {case.program.accelerator.stages for case in CASES} == {1, 2, 3}
    assert {case.kind for case in CASES if case.net.config.moe_layers} == {"int8", "ternary"}
    assert any(case.images < case.program.accelerator.stages for case in CASES)
    mixed = [case for case in CASES if len(set(case.tasks)) > 1]
    assert len(mixed) >= 20
    assert any(len({t.classes for t in case.net.config.tasks}) == 3 for case in mixed)


def test_what_happens_in_them() -> None:
    """Experts get no token, values clip."""
    starved = clipped = 0
    for case in CASES[::3]:
        found = run_reference(case.model, case.patches[:1], case.tasks[0], trace=True)
        assert found.trace is not None
        rows = [len(v) for name, v in found.trace.items() if name.endswith(".rows")]
        starved += 0 in rows
        clipped += any(found.saturations.values())
    assert starved >= 5
    assert clipped >= 5


def some(count: int) -> list[Case]:
    """Of both machines, with experts and more than one stage and task."""
    chosen = [
        case
        for case in CASES
        if case.net.config.moe_layers
        and case.program.accelerator.stages > 1
        and len(set(case.tasks)) > 1
        and case.net.config.dim > 8
    ]
    by_machine = [[case for case in chosen if case.machine == name] for name in LANES]
    return [case for cases in by_machine for case in cases[:count]]


HARD = {
    "stalls": MachineOptions(bytes_per_cycle=24.0, latency=30, stall=0.3, seed=1),
    "many stalls": MachineOptions(bytes_per_cycle=24.0, latency=30, stall=0.7, seed=2, jitter=90),
    "at once": MachineOptions(bytes_per_cycle=500.0, latency=1, write_latency=1, jitter=0),
    "far away": MachineOptions(bytes_per_cycle=24.0, latency=300, write_latency=300, outstanding=1),
    "a byte a cycle": MachineOptions(bytes_per_cycle=1.0, latency=20, stall=0.2, seed=3),
    "power-up": replace(PLAIN, power_up_seed=5),
    "another power-up": MachineOptions(24.0, latency=30, power_up_seed=77, stall=0.5, seed=4),
}


@cache
def undisturbed(case: Case, machine: Make) -> MachineRun:
    found = run(case, machine, traced=0).run
    assert found
    return found


@pytest.mark.parametrize("what", HARD)
@pytest.mark.parametrize("case", some(2), ids=lambda case: case.name)
def test_only_cycles_change(case: Case, what: str, machine: Make) -> None:
    options = HARD[what]
    plain, hard = undisturbed(case, machine), run(case, machine, options, traced=0).run
    assert hard
    assert np.array_equal(hard.results, plain.results)
    assert hard.step_clipped == plain.step_clipped
    if options.stall or options.latency == 300 or options.bytes_per_cycle == 1:
        assert hard.cycles > plain.cycles
    elif what == "at once":
        assert hard.cycles < plain.cycles
    elif what == "power-up":
        assert hard.cycles == plain.cycles


@pytest.mark.parametrize("case", some(1), ids=lambda case: case.name)
def test_a_seed_is_a_run(case: Case, machine: Make) -> None:
    cycles = set()
    for seed in (1, 2, 1, 3):
        options = MachineOptions(bytes_per_cycle=8.0, stall=0.4, seed=seed)
        made = run(case, machine, options, traced=0).run
        assert made
        cycles.add(made.cycles)
    assert len(cycles) == 3


@pytest.mark.parametrize("case", some(1), ids=lambda case: case.name)
def test_no_image(case: Case, machine: Make) -> None:
    memory = machine_memory(case.program, case.patches[:1], case.tasks[:1])
    memory["results"][:] = 0x77
    run = machine(case.machine).run(memory, 0, PLAIN)
    assert (run.results == 0x77).all()
    assert run.bytes_moved == 0
    assert not len(run.events)
    assert run.cycles < 100
