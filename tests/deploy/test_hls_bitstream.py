"""A bitstream from Vitis HLS has the pointers, `n_images` and `control`, and no other register.

The machine here is the SystemVerilog behind as few registers; no IP of Vitis was ever read.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from built_machine import small_net
from simulated_boards import MEMORY, ZCU102, copy_package, file_of

from hwmoe.codegen.folder import read_json
from hwmoe.codegen.project import Project
from hwmoe.codegen.rtl_axi import pointer_names
from hwmoe.deploy.bitstream import Bitstream, for_simulation, read_bitstream
from hwmoe.deploy.hwh import processor_of
from hwmoe.deploy.package import write_package
from hwmoe.deploy.simulated_device import SimulatedDevice
from hwmoe.sim.machine import Machine
from hwmoe.vendor.kernel import CONTROL_RANGE

PREDICTED = {"cycles_per_image": 2000.0, "first_cycles": 5000.0}
REGISTER = re.compile(r" *<REGISTER NAME=\"(\w+)\">.*?</REGISTER>\n", re.DOTALL)


@pytest.fixture
def bitstream(project: Project, tmp_path: Path) -> Bitstream:
    """As `hwmoe package --bitstream` reads it, but marked as what it is: for simulation."""
    placeholder = for_simulation(project)
    assert placeholder.description is not None
    kept = {f"{name}_{half}" for name in pointer_names(1) for half in (1, 2)} | {"n_images"}
    description = REGISTER.sub(
        lambda found: found[0] if found[1] in kept else "", placeholder.description
    )
    built = tmp_path / "built.bit"
    built.write_bytes(b"\x00\x09\x0f\xf0 of Vivado")
    built.with_suffix(".hwh").write_text(description)
    return replace(read_bitstream(project, built), kind="simulation", data=placeholder.data)


@pytest.fixture
def package(project: Project, bitstream: Bitstream, tmp_path: Path) -> Path:
    write_package(tmp_path / "hls", project, bitstream, small_net().images, PREDICTED)
    return tmp_path / "hls"


class FewRegisters(SimulatedDevice):
    """Whose accelerator shows only what a manifest lists."""

    def __init__(self, machine: Machine, package: Path) -> None:
        super().__init__(ZCU102, machine, MEMORY)
        registers = read_json(package / "manifest.json")["registers"].values()
        self.known = {r["offset"] + at for r in registers for at in range(0, r["bits"] // 8, 4)}

    def read_registers(self, address: int, length: int) -> bytes:
        offset = address - processor_of(ZCU102).base
        assert offset in self.known or not 0 <= offset < CONTROL_RANGE, hex(offset)
        return super().read_registers(address, length)


def test_it_is_told_by_its_registers(project: Project, package: Path) -> None:
    assert for_simulation(project).source == "rtl"
    manifest = read_json(package / "manifest.json")
    assert manifest["bitstream"]["source"] == "hls"
    assert set(manifest["registers"]) == {"control", "n_images", *pointer_names(1)}


def test_it_computes_and_counts_nothing(
    package: Path, pynq_driver: ModuleType, machine: Machine
) -> None:
    with FewRegisters(machine, package) as device, pynq_driver.Accelerator(package, device) as acc:
        report = acc.selftest()
        assert report.ok, repr(report)
        assert "from Vitis HLS, which counts neither cycles" in repr(report)
        golden = acc.golden()
        logits = acc.predict(golden["images"], 1)
        np.testing.assert_array_equal(logits, golden["task1/logits"])
        with pytest.raises(pynq_driver.DeviceError, match="from Vitis HLS"):
            acc.counters()


def test_a_run_that_never_ends(package: Path, pynq_driver: ModuleType, machine: Machine) -> None:
    with (
        FewRegisters(machine, package) as device,
        pynq_driver.Accelerator(package, device) as acc,
        pytest.raises(pynq_driver.DeviceError, match="no image finished within 0 s"),
    ):
        acc.predict(acc.golden()["images"], timeout=0.0)


def test_another_machine_is_told_by_its_logits(
    package: Path, pynq_driver: ModuleType, machine: Machine, tmp_path: Path
) -> None:
    """As if it were: here the package expects other answers."""
    with np.load(file_of(package, "golden")) as golden:
        arrays = {name: golden[name] for name in golden}
    np.savez(tmp_path / "wrong.npz", **arrays | {"task0/logits": arrays["task0/logits"] + 1})
    data = (tmp_path / "wrong.npz").read_bytes()
    entry = {"file": "wrong.npz", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    other = copy_package(package, tmp_path / "other", golden=entry)
    (other / "wrong.npz").write_bytes(data)
    with (
        FewRegisters(machine, other) as device,
        pytest.raises(pynq_driver.DeviceError, match="the hardware computes wrong logits"),
    ):
        pynq_driver.Accelerator(other, device)
