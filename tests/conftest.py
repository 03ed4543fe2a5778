"""Puts this folder on the import path (for `small_models`), keeps PyTorch to one core, and lets
Ctrl-C through: a shell starts what runs in its background with SIGINT ignored, and it is inherited.

`pytest --update` writes the files that are made by code and committed, instead of comparing them.
"""

import signal

import pytest
import torch

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write generated files anew")


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update"))
