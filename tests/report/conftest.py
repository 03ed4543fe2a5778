"""The reports of report_data as fixtures."""

from __future__ import annotations

from typing import Any

import pytest
from report_data import HOSTILE, make_dense, make_failed, make_hostile, make_pictures, make_report

from hwmoe.report.html import Pictures


@pytest.fixture
def report() -> dict[str, Any]:
    return make_report()


@pytest.fixture
def failed() -> dict[str, Any]:
    return make_failed()


@pytest.fixture
def dense() -> dict[str, Any]:
    return make_dense()


@pytest.fixture
def hostile() -> dict[str, Any]:
    found = make_hostile()
    found["bit_exact"]["hls_csim"] = False
    found["checks"]["hls_csim"]["divergence"] = HOSTILE
    found["saturation"]["sites"] = {HOSTILE: {HOSTILE: 16}}
    found["expert_load"] = {HOSTILE: {HOSTILE: found["expert_load"]["digit"]["blocks.1"]}}
    assert isinstance(found, dict)
    return found


@pytest.fixture
def pictures() -> Pictures:
    return make_pictures()
