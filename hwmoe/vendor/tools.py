"""Where Vivado and Vitis are installed, if they are."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOTS = ("/tools/Xilinx", "/opt/Xilinx", "/opt/xilinx", "/opt/amd", "~/Xilinx", "~/AMD")
"""Folders that the installer offers, or that are usual."""
# Variables that settings64.sh sets, and the tools below each of them.
VARIABLES = {
    "vivado": ("XILINX_VIVADO",),
    "vitis_hls": ("XILINX_HLS", "XILINX_VITIS"),
    "v++": ("XILINX_VITIS",),
    "vitis-run": ("XILINX_VITIS",),
}
_PRODUCTS = ("Vivado", "Vitis", "Vitis_HLS")


def find_tool(
    name: str,
    environment: Mapping[str, str] | None = None,
    roots: Iterable[str | Path] = ROOTS,
) -> Path | None:
    """The program: on PATH, where settings64.sh points, or the newest below `roots`."""
    given = os.environ if environment is None else environment
    on_path = shutil.which(name, path=given.get("PATH", ""))
    if on_path:
        return Path(on_path)
    for variable in VARIABLES.get(name, ()):
        if given.get(variable):
            program = Path(given[variable]) / "bin" / name
            if os.access(program, os.X_OK):
                return program
    found = [
        program
        for root in roots
        for program in _installed(Path(root).expanduser(), name)
        if os.access(program, os.X_OK)
    ]
    return max(found, key=_version, default=None)


def environment_for(program: Path) -> dict[str, str]:
    """Environment in which `program` finds the tools beside it."""
    folder = str(program.parent)
    path = os.environ.get("PATH", "")
    if folder not in path.split(os.pathsep):
        path = os.pathsep.join(part for part in (folder, path) if part)
    return {**os.environ, "PATH": path}


def _installed(root: Path, name: str) -> Iterable[Path]:
    """Up to 2024 a folder a product and below it a version; since 2025 the other way round."""
    for product in _PRODUCTS:
        yield from root.glob(f"{product}/*/bin/{name}")
        yield from root.glob(f"*/{product}/bin/{name}")


def _version(program: Path) -> tuple[int, int]:
    found = re.search(r"(20\d\d)\.(\d)", str(program))
    return (int(found[1]), int(found[2])) if found else (0, 0)
