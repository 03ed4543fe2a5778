"""The blocks that a memory takes, against Yosys itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hwmoe.codegen.render import fixed
from hwmoe.dse.block_ram import joins_of, layout_of

SYNTH = """
import json, sys
from pyosys import libyosys
for bits, words in json.loads(sys.argv[1]):
    design = libyosys.Design()
    for line in (
        "read_verilog -sv ram.sv",
        f"chparam -set W {bits} -set DEPTH {words} hwmoe_ram_bank",
        "synth_xilinx -family xcup -noiopad -noclkbuf -top hwmoe_ram_bank -run begin:map_ffram",
        f"tee -q -o {bits}x{words}.json stat -json",
    ):
        libyosys.run_pass(line, design)
"""
SHAPES = (
    (256, 6192),  # units of all rows share blocks
    (128, 18576),  # fewer rows rather than fewer blocks
    (512, 3870),
    (24, 8256),
    (9, 10_000),
    (4, 33_000),
    (864, 129),
    (13, 1024),
    (256, 18576),  # a tie but for half a unit, between ports of 9 and of 36 bits
    (13, 32777),  # a tie between the two kinds of blocks
    (16, 18433),
    (22, 513),  # one block of 36 Kbit rather than two halves
    (40, 6192),  # a tie
)


def yosys(shapes: tuple[tuple[int, int], ...], folder: Path) -> list[int]:
    """Halves of block RAMs, a memory each."""
    (folder / "ram.sv").write_text(fixed("rtl/machine/hwmoe_ram_bank.sv"))
    call = [sys.executable, "-c", SYNTH, json.dumps(shapes)]
    subprocess.run(call, cwd=folder, check=True, capture_output=True, timeout=900)
    halves = []
    for bits, words in shapes:
        found = json.loads((folder / f"{bits}x{words}.json").read_text())
        cells = found["design"]["num_cells_by_type"]
        halves.append(2 * cells.get("RAMB36E2", 0) + cells.get("RAMB18E2", 0))
    return halves


def test_as_yosys_does(tmp_path: Path) -> None:
    few = SHAPES[-3:]
    assert [layout_of(*shape).halves for shape in few] == yosys(few, tmp_path)


@pytest.mark.slow  # 2 min
def test_as_yosys_does_for_many_shapes(tmp_path: Path) -> None:
    shapes = (*SHAPES, *((w, d) for w in (8, 32, 72, 100) for d in (129, 2000, 4097, 16_384)))
    assert [layout_of(*shape).halves for shape in shapes] == yosys(shapes, tmp_path)


def test_rows_are_joined_by_fours() -> None:
    assert layout_of(128, 18_576).rows == 5
    assert joins_of(128, 18_576) == 2 * 128
    assert joins_of(64, 512) == 0
