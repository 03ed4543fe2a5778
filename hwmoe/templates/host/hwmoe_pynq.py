"""The board through PYNQ: its overlay, the registers of hwmoe_top, buffers that both sides see."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pynq
from hwmoe_board import DeviceError
from hwmoe_package import Manifest

DONE, IDLE = 2, 4  # bits of `control`
PAGE = 4096


class HwmoeTop(pynq.DefaultIP):  # type: ignore[misc]
    """hwmoe_top in an overlay. Registers are read and written 32 bits at a time."""

    bindto = ("hwmoe:hwmoe:hwmoe_top:1.0",)

    def run(
        self, registers: Manifest, values: dict[str, int], patience: float, pause: float
    ) -> bool:
        """Write `values` by name, start, poll until done: False if no image is done in `patience`.

        Reading `control` clears its done bit, so it is read in one place, once a round. Without a
        count of images, `patience` is that of the run.
        """
        for name, value in values.items():
            for word in range(registers[name]["bits"] // 32):
                self.write(registers[name]["offset"] + 4 * word, value >> 32 * word & 0xFFFFFFFF)
        self.write(registers["control"]["offset"], 1)
        images, last = 0, time.monotonic()
        while not self.read(registers["control"]["offset"]) & DONE:
            if time.monotonic() - last > patience:
                counted = "images_done" in registers
                done = self.read(registers["images_done"]["offset"]) if counted else images
                if done == images:
                    return False
                images, last = done, time.monotonic()
            time.sleep(pause)
        return True


class Board:
    """What `Accelerator` needs of a board. device: a pynq.Device, or None: the active one."""

    no_registers = (
        "this bitstream is from Vitis HLS, which counts neither cycles nor images and reports no "
        "errors; one from the SystemVerilog does"
    )

    def __init__(self, folder: Path, manifest: Manifest, device: Any) -> None:
        self._device = device if device is not None else pynq.Device.active_device
        self._manifest = manifest
        self.has_registers = manifest["bitstream"]["source"] == "rtl"
        self._bitstream = folder / manifest["bitstream"]["file"]
        self.name = str(self._device.tag)
        simulation = manifest["bitstream"]["kind"] == "simulation"
        if simulation and self._device.has_capability("MEMORY_MAPPED"):
            raise DeviceError(
                "this package is for simulation, its .bit is only a placeholder: build a bitstream "
                "and make the package with `hwmoe package --bitstream`"
            )

    def load(self) -> None:
        """Put the bitstream on the board, set its clock, find hwmoe_top."""
        overlay = pynq.Overlay(str(self._bitstream), download=False, device=self._device)
        for clock in overlay.clock_dict.values():
            if clock["enable"] and not clock.get("frequency"):  # pynq 4.0.0 finds none on Zynq-7000
                clock["frequency"] = self._manifest["clock_mhz"]
        overlay.download()
        instance = self._manifest["kernel"]["instance"]
        if instance not in overlay.ip_dict:
            raise DeviceError(f"{self._bitstream}: the design has no {instance}")
        self._check_registers(overlay.ip_dict[instance])
        self._ip = getattr(overlay, instance)
        if not isinstance(self._ip, HwmoeTop):
            raise DeviceError(f"{instance} is a {overlay.ip_dict[instance]['type']}, no hwmoe_top")

    def _check_registers(self, ip: dict[str, Any]) -> None:
        """Names that the design describes; the halves of a pointer are name_1 and name_2."""
        wrong = []
        for name, register in self._manifest["registers"].items():
            halves = (name,) if register["bits"] == 32 else (f"{name}_1", f"{name}_2")
            for word, half in enumerate(halves):
                at = register["offset"] + 4 * word
                found = ip["registers"].get(half, {}).get("address_offset", at)
                if found != at:
                    wrong.append(f"{half} is at 0x{found:x} and not 0x{at:x}")
        if wrong:
            raise DeviceError(
                "the design's registers are not those of this package: " + "; ".join(wrong)
            )

    def read(self, offset: int) -> int:
        """The register at an offset, 32 bits."""
        return int(self._ip.read(offset))

    def idle(self) -> bool:
        """Whether no run is under way."""
        return bool(self.read(self._manifest["registers"]["control"]["offset"]) & IDLE)

    def allocate(self, argument: str, size: int) -> Any:
        """uint8 [size] that the machine can reach, whatever `argument` it is for."""
        buffer = pynq.allocate((size,), np.uint8, target=self._device)
        if buffer.device_address % PAGE:
            raise DeviceError(
                f"a buffer at 0x{buffer.device_address:x} is not on a page of its own"
            )
        return buffer

    def run(self, arguments: dict[str, Any], count: int, patience: float) -> bool:
        """Run `count` images; arguments: a buffer for every pointer, by name."""
        names = self._manifest["kernel"]["arguments"]
        values = {name: int(arguments[name].device_address) for name in names}
        cycles = count * self._manifest["predicted"]["cycles_per_image"]
        pause = min(1e-3, cycles / self._manifest["clock_mhz"] / 1e7)  # a tenth of the run
        values["n_images"] = count
        patience *= 1 if self.has_registers else count
        return bool(self._ip.run(self._manifest["registers"], values, patience, pause))
