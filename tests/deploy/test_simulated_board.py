"""The package's own driver through genuine pynq on the simulated board."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pynq
import pytest
from built_machine import small_net
from simulated_boards import MEMORY, ZCU102, zcu102

from hwmoe.codegen.project import Project
from hwmoe.deploy.bitstream import for_simulation
from hwmoe.deploy.package import write_package
from hwmoe.deploy.simulated_device import SimulatedDevice
from hwmoe.deploy.simulated_soc import BusError
from hwmoe.errors import HwmoeError
from hwmoe.plan.board import load_board
from hwmoe.quant.reference import run_reference
from hwmoe.sim.machine import Machine

IMAGES = small_net().images
PREDICTED = {"cycles_per_image": 2000.0, "first_cycles": 5000.0}


def expected(project: Project, tasks: list[int]) -> list[list[int]]:
    patches = project.model.quantize_images(IMAGES)
    return [
        run_reference(project.model, patches[i : i + 1], task).logits[0].tolist()
        for i, task in enumerate(tasks)
    ]


def test_selftest_and_predictions(
    project: Project, packaged: Path, pynq_driver: ModuleType, machine: Machine
) -> None:
    with zcu102(machine) as device, pynq_driver.Accelerator(packaged, device) as acc:
        report = acc.selftest()
        assert report.ok, repr(report)
        assert "6 images in " in repr(report)
        logits = acc.predict(IMAGES, [1, 0, 1])
        found = [
            row[: len(want)].tolist()
            for row, want in zip(logits, expected(project, [1, 0, 1]), strict=True)
        ]
        assert found == expected(project, [1, 0, 1])
        assert type(logits) is np.ndarray
        before = logits.copy()
        acc.predict(IMAGES[::-1].copy())
        np.testing.assert_array_equal(logits, before)  # fresh arrays
        counters = acc.counters()
        assert counters["images"] == 3
        engines = counters["engines"].values()
        assert all(sum(states.values()) <= counters["cycles"] for states in engines)
        assert counters["engines"]["linear"]["running"] > counters["cycles"] / 4


@pytest.mark.parametrize(("name", "clock"), [("zcu102", 299.997), ("pynq-z2", 100.0)])
def test_zynq_and_zynqmp(
    project: Project,
    pynq_driver: ModuleType,
    machine: Machine,
    name: str,
    clock: float,
    tmp_path: Path,
) -> None:
    """The same machine; addresses, clocks and the processor's registers of either family."""
    other = replace(project, board=load_board(name))
    write_package(tmp_path / "p", other, for_simulation(other), IMAGES[:1], PREDICTED)
    with SimulatedDevice(other.board, machine, MEMORY) as device:
        with pynq_driver.Accelerator(tmp_path / "p", device) as acc:
            assert acc.selftest().ok
            weights = acc._buffers["weights_0"]
            assert (weights.device_address >= 1 << 32) == (name == "zcu102")
        assert pynq.Clocks.fclk0_mhz == pytest.approx(clock)
        assert pynq.Clocks.cpu_mhz > 600


def test_overlay_is_pynqs_own(packaged: Path, pynq_driver: ModuleType, machine: Machine) -> None:
    bitstream = next(packaged.glob("*.bit"))
    with zcu102(machine) as device:
        with pytest.raises(BusError, match="0xa0000000: no bitstream is loaded"):
            device.read_registers(0xA000_0000, 4)
        overlay = pynq.Overlay(str(bitstream), device=device)
        ip = overlay.hwmoe_0
        assert type(overlay) is pynq.Overlay
        registers = ip.register_map
        assert int(registers.control) == 4
        registers.images_1 = 0x1234_5678
        assert ip.read(0x28) == 0x1234_5678
        assert registers.control.ap_idle == 1
        ip.write(0x28, 0xFFFF_0000)
        assert int(registers.images_1) == 0xFFFF_0000
        overlay.download()
        assert ip.read(0x28) == 0  # the fabric is reset
        with pytest.raises(BusError, match="no register at 0xa0010000"):
            device.read_registers(0xA001_0000, 4)
        with pytest.raises(RuntimeError, match="no partial"):
            device.get_bitfile_metadata(str(bitstream), partial=True)
        # Widths of the ports are set as PYNQ does on a board: 64 bits, port HP0.
        assert device.registers.read(0xFD38_0000) & 3 == 1


def test_memory_stays_when_the_fabric_is_reset(packaged: Path, machine: Machine) -> None:
    with zcu102(machine) as device:
        buffer = pynq.allocate((100,), "u1", target=device)
        buffer[:] = 7
        buffer.sync_to_device()
        device.program()
        buffer[:] = 0
        buffer.sync_from_device()
        assert (np.array(buffer) == 7).all()


def test_only_boards_with_pynq(machine: Machine) -> None:
    with pytest.raises(HwmoeError, match="alveo"):
        SimulatedDevice(load_board("u280"), machine, MEMORY)


def test_every_board_has_a_tag_of_its_own(machine: Machine) -> None:
    tags: set[Any] = {zcu102(machine).tag for _ in range(3)}
    assert len(tags) == 3
    assert SimulatedDevice(ZCU102, machine, MEMORY, "mine").tag == "mine"
