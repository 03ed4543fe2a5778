"""Simulators that serve many models: built once, with memories larger than any of them needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from flow_machines import MACHINES, SIZES

from hwmoe.codegen.hls import hls_files
from hwmoe.sim.csim import CSim


@pytest.fixture(scope="session")
def csim(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], CSim]:
    """csim(name): the simulation of MACHINES[name]."""
    folder = tmp_path_factory.mktemp("csim")

    @cache
    def make(name: str) -> CSim:
        return CSim(hls_files(MACHINES[name], SIZES), MACHINES[name], folder, ["-O1"])

    return make
