"""Puts this folder on the import path (for `small_models`) and keeps PyTorch to one core.

`pytest --update` writes the files that are made by code and committed, instead of comparing them.
"""

import pytest
import torch

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write generated files anew")


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update"))
