"""Faults planted in the machine's SystemVerilog: the comparison finds each and names its place."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from planted import FAULTS, Chosen, faulty_rtl
from small_models import Small, small
from whole_cases import LANES, build, louder, stored_divergence

from hwmoe.plan.accelerator import AcceleratorConfig, LinearConfig
from hwmoe.plan.compiler import compile_model
from hwmoe.plan.fit import largest
from hwmoe.plan.program import Program
from hwmoe.plan.trace import TraceProgram, trace_program
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.sim.machine import Machine
from hwmoe.sim.machine_session import MachineOptions
from hwmoe.sim.whole_model import WholeRun, simulate_model

TASKS = [0, 1, 1, 0]


def tied(model: QuantizedModel) -> QuantizedModel:
    """Every gate likes experts 0 and 1 equally, and both more than any other."""
    ops = dict(model.ops)
    for name in ops:
        if ".gate." in name:
            p = model.linear(name)
            arrays = {"weight": p.weight, "bias": p.bias, "multiplier": p.multiplier}
            equal = {key: np.concatenate([a[:1], a[:1], a[2:]]) for key, a in arrays.items()}
            equal["bias"][2:] = -(2**25)
            ops[name] = replace(p, **equal)
    return replace(model, ops=ops)


@cache
def net() -> Small:
    return small("ternary", top_k=1)


@cache
def models() -> dict[str, QuantizedModel]:
    plain = net().quantized
    return {"plain": plain, "tied": tied(plain), "loud": louder(plain), "traced": plain}


@cache
def programs() -> dict[str, Program]:
    made = {name: compile_model(model, machine()) for name, model in models().items()}
    return made | {"traced": trace().program}


@cache
def machine() -> AcceleratorConfig:
    expert = LinearConfig(t_in=8, t_out=16, t_epi=4, w_rows=2)
    return LANES["narrow"].model_copy(update={"stages": 2, "expert": expert})


@cache
def trace() -> TraceProgram:
    model = models()["traced"]
    return trace_program(model, machine(), compile_model(model, machine()))


@pytest.fixture(scope="module")
def faulty(shared: Path) -> Machine:
    return build(*largest(list(programs().values())), shared / "faulty", make=faulty_rtl)


def run(machine: Machine, name: str, fault: int) -> WholeRun:
    options = MachineOptions(bytes_per_cycle=24.0, latency=30)
    chosen = Chosen(machine, fault)
    program, model, patches = programs()[name], models()[name], net().patches
    whole = simulate_model(program, model, chosen, patches, TASKS, options, traced=4, seconds=60)
    if name == "traced" and whole.run and not whole.divergence:
        whole.divergence = stored_divergence(trace(), model, whole.run.results, patches, TASKS)
    return whole


@pytest.mark.parametrize("name", ["plain", "tied", "loud", "traced"])
def test_no_fault(name: str, faulty: Machine) -> None:
    whole = run(faulty, name, 0)
    assert whole.divergence is None, str(whole.divergence)
    assert whole.images == len(TASKS)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str, faulty: Machine) -> None:
    planted = FAULTS[fault]
    whole = run(faulty, planted.model, 1 + list(FAULTS).index(fault))
    assert whole.divergence is not None
    with pytest.raises(AssertionError, match=planted.found):
        raise AssertionError(str(whole.divergence))
