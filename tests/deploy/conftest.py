"""A package of a small model, and its driver with a board that is a dictionary of registers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from built_machine import build, shared_folder, small_net, small_project

from hwmoe.codegen.project import Project
from hwmoe.deploy.bitstream import for_simulation
from hwmoe.deploy.package import write_package
from hwmoe.flow.board import imported
from hwmoe.quant.calibrate import no_progress
from hwmoe.sim.machine import Machine

PREDICTED = {"cycles_per_image": 2000.0, "first_cycles": 5000.0}


@pytest.fixture(scope="session")
def project() -> Project:
    return small_project().project


@pytest.fixture(scope="session")
def packaged(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written once: not to be changed."""
    folder = tmp_path_factory.mktemp("deploy") / "package"
    write_package(folder, project, for_simulation(project), small_net().images, PREDICTED)
    return folder


class FakeBuffer:
    """Host array and the board's bytes, apart."""

    def __init__(self, size: int) -> None:
        self.nbytes = size
        self.host, self.there = np.zeros(size, np.uint8), np.full(size, 0xA5, np.uint8)

    def __getitem__(self, part: slice) -> Any:
        return self.host[part]

    def __setitem__(self, part: slice, values: Any) -> None:
        self.host[part] = values

    def sync_to_device(self) -> None:
        self.there[:] = self.host

    def sync_from_device(self) -> None:
        self.host[:] = self.there


class FakeBoard:
    """Registers of one machine in a dictionary; `work(arguments, count)` stands for its run."""

    name = "fake"
    no_registers = "no registers here"
    has_registers = True
    work: Callable[[dict[str, FakeBuffer], int], bool]

    def __init__(self, folder: Path, manifest: dict[str, Any], device: object) -> None:
        self.registers: dict[int, int] = {}
        self.busy = False
        self.made: list[tuple[str, int]] = []
        at = manifest["registers"]
        for name, value in manifest["hardware"].items():
            self.registers[at[name]["offset"]] = value

    def load(self) -> None:
        pass

    def allocate(self, argument: str, size: int) -> FakeBuffer:
        self.made.append((argument, size))
        return FakeBuffer(size)

    def run(self, arguments: dict[str, FakeBuffer], count: int, patience: float) -> bool:
        return type(self).work(arguments, count)

    def read(self, offset: int) -> int:
        return self.registers.get(offset, 0)

    def idle(self) -> bool:
        return not self.busy


@pytest.fixture
def host(packaged: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Modules of the package, imported from its folder; `board` is the class behind them."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where locks are
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.syspath_prepend(str(packaged))
    for name in list(sys.modules):
        if name.startswith("hwmoe_"):
            monkeypatch.delitem(sys.modules, name)
    board = type("Board", (FakeBoard,), {"work": staticmethod(lambda arguments, count: True)})
    back_end = ModuleType("hwmoe_pynq")
    back_end.Board = board  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hwmoe_pynq", back_end)
    modules = {part: importlib.import_module(f"hwmoe_{part}") for part in ("package", "driver")}
    yield SimpleNamespace(**modules, board=board, folder=packaged)
    for name in list(sys.modules):
        if name.startswith("hwmoe_"):
            del sys.modules[name]


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """`project`'s, compiled."""
    hardware = small_project()
    folder = hardware.write(tmp_path_factory.mktemp("machine") / "project")
    return build(hardware.project, folder, shared_folder(tmp_path_factory), no_progress)


@pytest.fixture
def pynq_driver(
    packaged: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[ModuleType]:
    """`hwmoe_driver` of the package, which works pynq as it is."""
    from pynq.ps import Clocks

    monkeypatch.delattr(Clocks, "_real_instance", raising=False)  # those of another board
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where locks are
    with imported(packaged, "hwmoe_driver") as driver:
        yield driver
