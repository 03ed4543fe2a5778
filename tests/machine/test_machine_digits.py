"""The trained digits on the machine in SystemVerilog: int8 and ternary are two programs of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from whole_cases import KINDS, build, digits, digits_program, sizes_of

from hwmoe.plan.fit import check_fit, largest
from hwmoe.quant.quantized import Experts
from hwmoe.sim.machine import Machine
from hwmoe.sim.machine_session import MachineOptions
from hwmoe.sim.whole_model import simulate_model

OPTIONS = MachineOptions(bytes_per_cycle=32.0, latency=60)


@pytest.mark.parametrize("name", ["wide", "apart"])
@pytest.mark.parametrize("kind", KINDS)
def test_digits(name: str, kind: Experts, machine: Callable[[str], Machine]) -> None:
    model, patches = digits(kind)
    program = digits_program(model, name)
    check_fit(program, *sizes_of(name))
    tasks = np.random.default_rng(7).integers(0, 2, 32).tolist()
    whole = simulate_model(
        program, model, machine(name), patches[:32], tasks, OPTIONS, traced=2, seconds=600
    )
    assert whole.divergence is None, str(whole.divergence)
    assert whole.images == 32
    assert whole.tensors > 80


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all_digits(kind: Experts, shared: Path) -> None:
    """Every image to test on with either task, alternating, on a machine compiled for speed."""
    programs = [digits_program(digits(one)[0]) for one in KINDS]
    machine = build(*largest(programs), shared / "machine-digits", "-O3")
    model, patches = digits(kind)
    both = np.repeat(patches, 2, axis=0)
    tasks = [0, 1] * len(patches)
    program = digits_program(model)
    whole = simulate_model(program, model, machine, both, tasks, OPTIONS, traced=8, seconds=3000)
    assert whole.divergence is None, str(whole.divergence)
    assert whole.images == 720
