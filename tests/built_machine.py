"""One small machine, compiled once for all tests that simulate it.

Compiling takes most of a minute of processor time. Tests in other processes wait for the first.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from functools import cache
from pathlib import Path

import pytest
from small_models import Small, small

from hwmoe.codegen.folder import KEPT
from hwmoe.codegen.project import Project
from hwmoe.flow import rtl
from hwmoe.flow.hardware import HardwareModel, generate
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
)
from hwmoe.plan.board import load_board
from hwmoe.quant.calibrate import Progress, no_progress
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.sim.machine import Machine

MACHINE = AcceleratorConfig(
    linear=LinearConfig(t_in=8, t_out=8, t_epi=4, w_rows=1),
    attention=AttentionConfig(rows=2, dim_lanes=4),
    layernorm=LayerNormConfig(lanes=4),
    stages=2,
)
"""For every model of the geometry of `small()` the same SystemVerilog."""


_build = rtl.build_machine


@cache
def small_net() -> Small:
    """Ternary experts, three images."""
    return small("ternary", count=3)


def small_project(model: QuantizedModel | None = None) -> HardwareModel:
    """The machine for `small_net()`, or for another model of the same geometry."""
    return generate(model or small_net().quantized, load_board("zcu102"), "small", MACHINE)


def compiled(hardware: HardwareModel, factory: pytest.TempPathFactory) -> HardwareModel:
    """`hardware`, which is written, with the compiled machine where it looks for it."""
    shared = shared_folder(factory)
    assert hardware.folder
    build(hardware.project, hardware.folder, shared, no_progress)
    shutil.copytree(shared / KEPT, hardware.folder / KEPT, dirs_exist_ok=True)
    return hardware


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """For `build`: one for all workers of pytest-xdist."""
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "small-machine"
    shared.mkdir(exist_ok=True)
    return shared


def build(project: Project, folder: Path, shared: Path, progress: Progress) -> Machine:
    """`rtl.build_machine` in a shared folder."""
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(project, folder, shared / KEPT, progress)
