"""Predicted cycles of the whole machine against those of the simulated SystemVerilog."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from dse_cases import (
    CASES,
    MACHINES,
    Case,
    lengths_of,
    machine_for_all,
    network,
    staged,
)
from small_models import Small

from hwmoe.codegen.rtl_machine import machine_rtl
from hwmoe.dse.machine_cycles import even_lengths, predict_machine
from hwmoe.plan.compiler import compile_model, schedule_only
from hwmoe.plan.program import Program
from hwmoe.plan.trace import trace_program
from hwmoe.sim.machine import Machine
from hwmoe.sim.machine_session import MachineOptions
from hwmoe.sim.whole_model import simulate_model

TASKS = [0, 1, 1, 0, 1, 0]
JITTER = 16
CLOSE, TRACE_CLOSE = 0.03, 0.04
TINY, TINY_CLOSE = 4000, 0.06  # cycles an image: a few late bursts are much of such a run


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Machine]:
    folder = tmp_path_factory.mktemp("dse")

    @cache
    def build(name: str) -> Machine:
        acc, sizes = machine_for_all(name)
        rtl = folder / name
        rtl.mkdir()
        paths = []
        for file, text in machine_rtl(acc, sizes).items():
            (rtl / file).write_text(text)
            paths += [rtl / file] if file.endswith(".sv") else []
        ports = acc.ports
        return Machine(paths, ports.port_bits, ports.w_ports, folder / "build", optimize="-O1")

    return build


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_simulated(case: Case, name: str, machine: Callable[[str], Machine]) -> None:
    net = network(case.model)
    check(case, name, machine(name), net, compile_model(net.quantized, staged(name, case.stages)))


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("case", [case for case in CASES if case.rate >= 8], ids=str)
def test_a_trace_as_simulated(case: Case, name: str, machine: Callable[[str], Machine]) -> None:
    """Large stores. On slower memories, where they compete with the weights, up to 7 % is lost."""
    net = network(case.model)
    acc = staged(name, case.stages)
    trace = trace_program(net.quantized, acc, compile_model(net.quantized, acc))
    check(case, name, machine(name), net, trace.program, TRACE_CLOSE)


def check(
    case: Case, name: str, machine: Machine, net: Small, program: Program, allowed: float = CLOSE
) -> None:
    options = MachineOptions(case.rate, case.latency, jitter=JITTER, write_latency=case.latency)
    run = simulate_model(program, net.quantized, machine, net.patches, TASKS, options)
    assert not run.divergence
    latency = case.latency + JITTER / 2
    lengths = lengths_of(program, net, TASKS)
    found = predict_machine(program, case.rate, latency, TASKS, lengths)
    first = found.latency / run.latency - 1
    steady = found.cycles_per_image / run.cycles_per_image - 1
    print(f"{name}, {case}: latency {run.latency} {first:+.2%}, ", end="")
    print(f"between images {run.cycles_per_image:.0f} {steady:+.2%}")
    close = TINY_CLOSE if run.cycles_per_image < TINY else allowed
    assert abs(first) < close
    assert abs(steady) < close


def predicted(stages: int = 2, rate: float = 16, latency: int = 100) -> tuple[int, float]:
    program = schedule_only(network(4).quantized, staged("two ports", stages))
    found = predict_machine(program, rate, latency, TASKS, even_lengths(program, 2))
    assert len(found.stores) == len(TASKS)
    assert list(found.stores) == sorted(found.stores)
    return found.latency, found.cycles_per_image


def test_what_makes_a_run_faster() -> None:
    """More bandwidth, less latency, more images in flight; the same twice over."""
    assert predicted() == predicted()
    assert predicted(rate=32)[1] < predicted()[1] < predicted(rate=4)[1]
    assert predicted(latency=20)[0] < predicted()[0] < predicted(latency=400)[0]
    assert predicted(stages=2)[1] < predicted(stages=1)[1]


def test_a_slow_memory_decides() -> None:
    """A machine waits for its bytes: nothing is faster than the memory delivers them."""
    program = compile_model(network(4).quantized, staged("two ports", 2))
    rate = 1.0
    found = predict_machine(program, rate, 20, [0] * 6, even_lengths(program, 2))
    weights = program.weights.nbytes + 64 * len(program.steps)
    assert weights / rate < found.cycles_per_image < 1.3 * weights / rate


def test_every_instruction_has_its_place() -> None:
    program = schedule_only(network(1).quantized, staged("one port", 2))
    found = predict_machine(program, 16, 100, TASKS, even_lengths(program, 2))
    ran = {(step, image) for step, image, _, _ in found.trace}
    assert len(ran) == len(found.trace)
    for index, step in enumerate(program.steps):
        images = {image for image, task in enumerate(TASKS) if step.fields["tasks"] >> task & 1}
        assert {image for at, image in ran if at == index} == images
    assert all(begin < end for _, _, begin, end in found.trace)


def test_a_missing_token_is_seen() -> None:
    """A program that stops in the middle is no prediction."""
    program = schedule_only(network(0).quantized, staged("one port", 1))
    steps = list(program.steps)
    at = next(i for i, step in enumerate(steps) if step.fields["signal"])
    fields = {**steps[at].fields, "signal": 0}
    steps[at] = type(steps[at])(**{**vars(steps[at]), "fields": fields})
    broken = type(program)(**{**vars(program), "steps": tuple(steps)})
    with pytest.raises(AssertionError, match="stops before its end"):
        predict_machine(broken, 16, 100, [0], even_lengths(program, 2))
