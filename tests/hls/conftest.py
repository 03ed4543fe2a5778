"""One build of each accelerator for all tests of a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from hls_cases import CONFIGS, project

from hwmoe.sim.csim import CSim


@pytest.fixture(scope="session")
def csim(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], CSim]:
    """csim(name): the simulation of CONFIGS[name]; warnings are errors."""
    folder = tmp_path_factory.mktemp("csim")

    @cache
    def make(name: str) -> CSim:
        # One with the flags of users, the others faster to compile.
        flags = ["-Werror"] if name == "plain" else ["-Werror", "-O1"]
        return CSim(project(name), CONFIGS[name], folder, flags)

    return make


@pytest.fixture(scope="session")
def exact(tmp_path_factory: pytest.TempPathFactory) -> CSim:
    """CONFIGS["narrow"] with ap_int instead of native integers (the headers are hls4ml's)."""
    spec = find_spec("hls4ml")
    if spec is None or spec.origin is None:
        pytest.skip("hls4ml, for its ap_int headers, is not installed")
    headers = Path(spec.origin).parent / "templates" / "vivado" / "ap_types"
    flags = ["-O1", "-DHWMOE_AP_INT", "-isystem", str(headers)]
    return CSim(project("narrow"), CONFIGS["narrow"], tmp_path_factory.mktemp("exact"), flags)
