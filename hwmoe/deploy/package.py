"""The folder that goes to the board, and the same as a zip."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwmoe.codegen.folder import staged, write_json, write_text
from hwmoe.codegen.project import Project
from hwmoe.codegen.render import fixed, render
from hwmoe.deploy.bitstream import Bitstream
from hwmoe.deploy.golden import WHEN, golden_arrays, npz_bytes
from hwmoe.deploy.manifest import Manifest, file_entry, make_manifest
from hwmoe.deploy.memory_image import memory_image
from hwmoe.deploy.notebook import notebook
from hwmoe.files import replacing
from hwmoe.plan.trace import trace_program

MANIFEST = "manifest.json"
_DRIVER = (
    "hwmoe_board.py",
    "hwmoe_driver.py",
    "hwmoe_package.py",
    "hwmoe_report.py",
    "selftest.py",
)


def write_package(
    folder: Path,
    project: Project,
    bitstream: Bitstream,
    images: npt.NDArray[np.float32],
    predicted: Mapping[str, float],
) -> Manifest:
    """Write `folder` and `folder`.zip, each whole or not at all; the manifest.

    images: golden ones, float32 [n, C, H, W]. predicted: `cycles_per_image`, `first_cycles`.
    `HwmoeError` if the folder holds other files.
    """
    program = project.program
    trace = trace_program(project.model, program.accelerator, program)
    manifest = make_manifest(project, trace, bitstream, predicted)
    memory, parts = memory_image(program, trace)
    golden = npz_bytes(golden_arrays(project.model, trace, images))
    manifest["bitstream"] |= file_entry("hwmoe", bitstream.data, bitstream.suffix)
    manifest["memory"] = file_entry("memory", memory, ".bin") | {"parts": parts}
    manifest["golden"] = file_entry("golden", golden, ".npz") | {"images": len(images)}
    binaries = {
        manifest["bitstream"]["file"]: bitstream.data,
        manifest["memory"]["file"]: memory,
        manifest["golden"]["file"]: golden,
    }
    with staged(folder, MANIFEST) as stage:
        for name, data in binaries.items():
            (stage / name).write_bytes(data)
        for name, text in _texts(project, bitstream, manifest).items():
            write_text(stage / name, text)
        write_json(stage / MANIFEST, manifest)
    _zip(folder)
    return manifest


def zip_path(folder: Path) -> Path:
    """Where the zip of a package's folder is."""
    folder = folder.absolute()
    return folder.with_name(f"{folder.name}.zip")


def _texts(project: Project, bitstream: Bitstream, manifest: Manifest) -> dict[str, str]:
    """File name -> text of all that people read or Python runs."""
    runtime, simulation = project.board.runtime, bitstream.kind == "simulation"
    texts = {name: fixed(f"host/{name}") for name in (*_DRIVER, f"hwmoe_{runtime}.py")}
    if bitstream.description is not None:
        stem = Path(manifest["bitstream"]["file"]).stem
        texts[f"{stem}.hwh"] = bitstream.description
    image = manifest["image"]
    texts["hwmoe.ipynb"] = notebook(
        render(
            "host/hwmoe.ipynb.j2",
            model=manifest["model"],
            board=project.board.title,
            experts=manifest["experts"],
            simulation=simulation,
            shape=f"{image['channels']}, {image['height']}, {image['width']}",
            stages=manifest["programs"]["main"]["stages"],
            tasks=[task["name"] for task in manifest["tasks"]],
            runtime=runtime,
        )
    )
    texts["README.md"] = render(
        "host/README.md.j2",
        **manifest | {"images": manifest["golden"]["images"]},
        title=project.board.title,
        simulation=simulation,
        suffix=bitstream.suffix,
    )
    return texts


def _zip(folder: Path) -> None:
    target = zip_path(folder)
    with replacing(target) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            info = zipfile.ZipInfo(f"{folder.absolute().name}/{path.name}", WHEN)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, path.read_bytes())
