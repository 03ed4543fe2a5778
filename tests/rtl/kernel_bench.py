"""What the benches of all kernels share: files on disk, the compiled simulator, statuses."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from hwmoe.sim.compiled import CompiledKernel
from hwmoe.sim.kernel_cases import Widths, axis_ports
from hwmoe.sim.streams import StreamResult


def write(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Rendered files in `folder`, as a list of sources."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def compiled(
    top: str, files: Mapping[str, str], widths: Widths, folder: Path, optimize: str
) -> CompiledKernel:
    """`files` below `folder`, built for the compiled bench; `widths` as in kernel_cases."""
    sources = write(files, folder / "rtl")
    return CompiledKernel(top, sources, *axis_ports(widths), folder / "build", optimize=optimize)


def statuses(result: StreamResult) -> list[int]:
    """Clipped values of each command."""
    return [int(v) for v in result.outputs["m_axis_status"].view("<u4").reshape(-1)]


def build_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """For the builds of a test file; HWMOE_TEST_BUILDS names a folder that keeps them."""
    kept = os.environ.get("HWMOE_TEST_BUILDS")
    return Path(kept) / name if kept else factory.mktemp(name)
