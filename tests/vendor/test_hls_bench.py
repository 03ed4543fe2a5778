"""The test bench that Vitis gets: compiled by g++, it finds the HLS bit-exact, and faults."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hwmoe.codegen.hls import TOP_SOURCES
from hwmoe.codegen.project import Project
from hwmoe.vendor.csim_case import case_bytes, write_case
from hwmoe.vendor.vitis import BENCH, CASE, FLAGS


@pytest.fixture(scope="module")
def bench(written: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, out = written("zcu102"), tmp_path_factory.mktemp("bench") / "bench"
    warnings = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wno-unknown-pragmas")
    sources = [f"vitis/{BENCH}", *(f"hls/{name}" for name in TOP_SOURCES)]
    # hls/csim stands in for the headers of Vitis; the program is the one that Vitis would compile.
    command = ["g++", FLAGS, "-O1", *warnings, "-Ihls/csim", "-Ihls", *sources, "-o", str(out)]
    subprocess.run(command, cwd=folder, check=True, timeout=300)
    return out


def run(bench: Path, case: Path) -> tuple[int, str]:
    done = subprocess.run(
        [str(bench), case.name], cwd=case.parent, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout


def test_bit_exact(
    bench: Path, copied: Callable[[str], Path], project: Callable[[str], Project]
) -> None:
    case = write_case(project("zcu102"), copied("zcu102"))
    assert case.name == CASE
    code, text = run(bench, case)
    assert code == 0, text
    assert "C simulation bit-exact, 2 images" in text


def test_faults(bench: Path, project: Callable[[str], Project], tmp_path: Path) -> None:
    good = case_bytes(project("zcu102"))
    case = tmp_path / "case.bin"
    weights = project("zcu102").program.weights
    at = len(good) - weights.size // 4  # in what the last port reads
    case.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
    code, text = run(bench, case)
    assert code == 1
    assert "DIFFERS" in text
    for broken in (good[:-1], b"x" + good[1:], b""):
        case.write_bytes(broken)
        code, text = run(bench, case)
        assert code == 2
        assert "is not a case of this accelerator" in text
