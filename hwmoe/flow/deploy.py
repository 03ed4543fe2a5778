"""`hwmoe package`: what goes to the board."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from hwmoe.deploy.bitstream import for_simulation, read_bitstream
from hwmoe.deploy.package import write_package, zip_path
from hwmoe.flow.hardware import HardwareModel
from hwmoe.model.data import images_for

Result = dict[str, Any]
PACKAGE = "package"
GOLDEN_IMAGES = 8


def package_folder(
    folder: Path,
    out: Path | None = None,
    bitstream: Path | None = None,
    images: str | None = None,
    count: int | None = None,
) -> Result:
    """`hwmoe package`: the project in `folder` as a package in `out`, by default its `package`.

    `count` golden images come from the model's own, or from the .npz file `images`. Without a
    `bitstream` the package is for simulation. `HwmoeError` for anything that cannot be used.
    """
    hardware = HardwareModel.load(folder)
    project, out = hardware.project, out or folder / PACKAGE
    chosen = read_bitstream(project, bitstream) if bitstream else for_simulation(project)
    limit = count or GOLDEN_IMAGES
    golden = images_for(project.model.config, images, limit=limit).test[:limit]
    cycles = hardware.predict_cycles()
    predicted = {"cycles_per_image": cycles.cycles_per_image, "first_cycles": cycles.latency}
    manifest = write_package(out, project, chosen, golden, predicted)
    return {"folder": str(out), "zip": str(zip_path(out)), "manifest": manifest}


def show_package(result: Result, console: Console) -> None:
    manifest = result["manifest"]
    memory, kind = manifest["memory"]["bytes"], manifest["bitstream"]["kind"]
    console.print(
        f"{result['folder']}: {manifest['model']} for {manifest['board']}, "
        f"{memory:,} bytes of programs, parameters and weights, "
        f"{manifest['golden']['images']} golden images",
        soft_wrap=True,
        highlight=False,
    )
    console.print(f"{result['zip']}: the same to copy", soft_wrap=True, highlight=False)
    if kind == "simulation":
        console.print(
            "The bitstream is a placeholder for simulation: no board takes it. Give a real one "
            "with --bitstream.",
            soft_wrap=True,
        )
