"""The package of a card on the stand-in for pyxrt, over the machine in SystemVerilog."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built_machine import MACHINE, build, shared_folder, small_net

pytest.importorskip("pynq")

from hwmoe.deploy.bitstream import for_simulation
from hwmoe.deploy.package import write_package
from hwmoe.deploy.simulated_xrt import SimulatedXrt
from hwmoe.flow.hardware import HardwareModel, generate
from hwmoe.flow.rtl import AS_THE_BOARD, board_memory
from hwmoe.plan.board import load_board
from hwmoe.quant.calibrate import no_progress
from hwmoe.sim.machine import Machine
from hwmoe.vendor.vitis import banks

PREDICTED = {"cycles_per_image": 2000.0, "first_cycles": 5000.0}


@pytest.fixture(scope="module")
def card_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[HardwareModel, Path, Machine]:
    """The model for a u280, its package, its machine."""
    hardware = generate(small_net().quantized, load_board("u280"), "small", MACHINE)
    folder = hardware.write(tmp_path_factory.mktemp("card") / "project")
    machine = build(hardware.project, folder, shared_folder(tmp_path_factory), no_progress)
    package, bitstream = folder / "package", for_simulation(hardware.project)
    write_package(package, hardware.project, bitstream, small_net().images, PREDICTED)
    return hardware, package, machine


@pytest.fixture
def driver(
    card_model: tuple[HardwareModel, Path, Machine],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Callable[[bool], Any]]:
    """Of the package, on a fresh card with or without readable registers."""
    hardware, package, machine = card_model
    project, cards = hardware.project, []
    memory = board_memory(project.board, AS_THE_BOARD)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.syspath_prepend(str(package))

    def forget() -> None:
        for name in [name for name in sys.modules if name.startswith("hwmoe_")]:
            del sys.modules[name]

    def load(registers: bool) -> Any:
        connected = dict(banks(project.board, machine.w_ports))
        cards.append(SimulatedXrt(machine, memory, connected, registers))
        monkeypatch.setitem(sys.modules, "pyxrt", cards[-1])
        forget()
        return importlib.import_module("hwmoe_driver")

    yield load
    forget()
    for card in cards:
        card.close()


@pytest.mark.parametrize("registers", [True, False])
def test_selftest_on_the_card(driver: Callable[[bool], Any], registers: bool) -> None:
    module = driver(registers)
    with module.Accelerator() as accelerator:
        report = accelerator.selftest()
        assert report.ok, report
        assert len(report.tensors) == 12
        if registers:
            assert accelerator.counters()["images"] == 1
            return
        assert "XRT 2.14" in repr(report)
        with pytest.raises(module.DeviceError, match="no registers"):
            accelerator.counters()


def test_an_altered_weight_is_found(driver: Callable[[bool], Any]) -> None:
    with driver(False).Accelerator() as accelerator:
        weights = accelerator._buffers["weights_0"]
        weights[0:64] = weights[0:64] ^ 0x55
        weights.sync_to_device()
        report = accelerator.selftest()
    assert not report.ok
    assert report.first_wrong.name == "a: embed"


def test_without_registers_an_altered_program_gives_no_results(
    driver: Callable[[bool], Any],
) -> None:
    module = driver(False)
    with module.Accelerator() as accelerator:
        program = accelerator._buffers["program"]
        program[64:128] = 0xFF  # the first step: no such instruction
        program.sync_to_device()
        with pytest.raises(module.DeviceError, match="never came"):
            accelerator.predict(small_net().images)


def test_a_buffer_in_another_bank_is_refused(driver: Callable[[bool], Any]) -> None:
    with driver(True).Accelerator() as accelerator:
        buffers = accelerator._buffers
        buffers["weights_0"] = accelerator._board.allocate("params", buffers["weights_0"].nbytes)
        with pytest.raises(RuntimeError, match="weights_0 is connected to bank 1"):
            accelerator.predict(small_net().images)


def test_a_run_that_takes_too_long(driver: Callable[[bool], Any]) -> None:
    module = driver(True)
    accelerator = module.Accelerator()
    images = np.repeat(small_net().images, 200, 0)
    with pytest.raises(module.DeviceError, match=r"(?s)no image finished .* linear: "):
        accelerator.predict(images, timeout=1e-5)
    accelerator.close()
    assert module._abandoned


def test_a_placeholder_is_no_xclbin(
    driver: Callable[[bool], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = driver(True)
    monkeypatch.delattr(SimulatedXrt, "simulated")
    with pytest.raises(module.DeviceError, match="only a placeholder"):
        module.Accelerator()
