"""What the tests of the benches share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cocotb_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build folder of the adder under cocotb: built by the first test that needs it.

    Under pytest-xdist each worker has its own; --dist loadfile keeps the number of builds low.
    """
    return tmp_path_factory.mktemp("cocotb")
