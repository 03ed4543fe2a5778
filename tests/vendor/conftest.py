"""Small projects on several boards, written once; tests that change one take a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from small_models import small

from hwmoe.codegen.project import Project, make_project
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.plan.board import load_board
from hwmoe.plan.compiler import compile_model
from hwmoe.vendor.files import with_vendor_files

MACHINE = AcceleratorConfig(
    linear=LinearConfig(t_in=8, t_out=8, t_epi=4, w_rows=2),
    attention=AttentionConfig(rows=2, dim_lanes=2),
    layernorm=LayerNormConfig(lanes=2),
    ports=PortsConfig(port_bits=64, w_ports=2),
)


@pytest.fixture(scope="session")
def project() -> Callable[[str], Project]:
    """project(board), in memory."""
    model = small().quantized
    program = compile_model(model, MACHINE)

    @cache
    def make(board: str) -> Project:
        return with_vendor_files(make_project(model, program, load_board(board), "small"))

    return make


@pytest.fixture(scope="session")
def written(
    project: Callable[[str], Project], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """written(board): its folder; not to be changed."""

    @cache
    def write(board: str) -> Path:
        folder = tmp_path_factory.mktemp(board)
        project(board).write(folder)
        return folder

    return write


@pytest.fixture
def copied(written: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """copied(board): a folder to change, alone to this test."""

    def copy(board: str) -> Path:
        return Path(shutil.copytree(written(board), tmp_path / board))

    return copy
