"""The machines of these tests, each built once for all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from whole_cases import build, sizes_of

from hwmoe.sim.machine import Machine


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of the tests see."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def machine(shared: Path) -> Callable[[str], Machine]:
    """machine(name): of LANES[name]."""

    @cache
    def make(name: str) -> Machine:
        return build(*sizes_of(name), shared / f"machine-{name}")

    return make
