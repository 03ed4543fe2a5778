"""SystemVerilog and HLS of one machine: the same program gives the same bytes and counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from whole_cases import CASES, Case, sizes_of

from hwmoe.codegen.hls import hls_files
from hwmoe.sim.csim import CSim
from hwmoe.sim.hls import run_hls
from hwmoe.sim.machine import Machine
from hwmoe.sim.machine_session import MachineOptions
from hwmoe.sim.whole_model import machine_memory


@pytest.fixture(scope="module")
def csim(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], CSim]:
    @cache
    def make(name: str) -> CSim:
        acc, sizes = sizes_of(name)
        return CSim(hls_files(acc, sizes), acc, tmp_path_factory.mktemp("csim"), ["-O1"])

    return make


CHOSEN = [
    case for name in ("narrow", "apart") for case in [c for c in CASES if c.machine == name][::4]
]


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_rtl_and_hls(
    case: Case, csim: Callable[[str], CSim], machine: Callable[[str], Machine]
) -> None:
    memory = machine_memory(case.program, case.patches, case.tasks)
    options = MachineOptions(24.0, latency=30, stall=0.2, seed=case.seed)
    rtl = machine(case.machine).run(
        memory, case.images, options, steps=len(case.program.steps), cycle_limit=5_000_000
    )
    hls = run_hls(case.program, csim(case.machine), case.patches, case.tasks, seed=case.seed)
    assert np.array_equal(rtl.results.view("<i2").reshape(case.images, -1), hls.logits)
    assert rtl.step_clipped == hls.saturations.tolist()
    assert hls.logits.any()
