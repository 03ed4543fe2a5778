"""Every HLS pragma of a rendered project is legal: directive, options, variables and ports."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pragma_check import check, preprocessed

from hwmoe.codegen.hls import TOP_SOURCES

Folders = Callable[[str], Path]


@pytest.mark.parametrize("source", TOP_SOURCES)
def test_pragmas(source: str, written: Folders) -> None:
    folder = written("zcu102") / "hls"
    problems, count = check(preprocessed(folder, source))
    assert problems == []
    assert count >= (folder / source).read_text().count("#pragma HLS") > 0


def test_offsets_of_registers(written: Folders) -> None:
    """Ours on a Zynq; on a card Vitis places the registers, and is not to be told."""
    for board, wanted in (("zcu102", 6 + 2), ("u280", 0)):
        text = (written(board) / "hls/hwmoe_top.cpp").read_text()
        assert len(re.findall(r"bundle = control offset = 0x[0-9a-f]+\n", text)) == wanted
        assert len(re.findall(r"mode = s_axilite .*bundle = control\b", text)) == 6 + 2 + 1
        assert check(preprocessed(written(board) / "hls", TOP))[0] == []


LINEAR, STEP, TOP = "hwmoe_linear.cpp", "hwmoe_linear_step.cpp", "hwmoe_top.cpp"
PARTITION = "variable = rows type = complete dim ="
STREAM = "variable = s_w depth"
# file, what stands there, what is planted, what must be said
FAULTS = [
    (LINEAR, "variable = tiles type", "variable = tile type", "variable=tile"),
    (LINEAR, "tiles type = complete", "tiles type = ful", "type=ful"),
    (LINEAR, f"{PARTITION} 2", f"{PARTITION} 3", "dim=3"),
    (LINEAR, "port = s_axis_x\n", "port = s_axis_xx\n", "port=s_axis_xx"),
    (LINEAR, "= ACC_DISTANCE true", "= ACC_DISTANC true", "distance=ACC_DISTANC"),
    (LINEAR, "type = ram_t2p", "type = ram_3p", "type=ram_3p"),
    (LINEAR, "HLS aggregate", "HLS agregate", "no such pragma"),
    ("hwmoe_vector.cpp", "type = inter false", "typ = inter false", "no option typ"),
    (STEP, f"{STREAM} =", f"{STREAM}s =", "no option depths"),
    (STEP, f"stream {STREAM} = 64", "unroll", "not in the body of a loop"),
    (TOP, "port = weights_1 offset", "port = weights_2 offset", "port=weights_2"),
    (TOP, "mode = s_axilite port = n_images", "mode = lite port = n_images", "mode=lite"),
]


@pytest.mark.parametrize(("source", "old", "new", "says"), FAULTS)
def test_planted_fault(copied: Folders, source: str, old: str, new: str, says: str) -> None:
    folder = copied("zcu102") / "hls"
    text = (folder / source).read_text()
    assert text.count(old) == 1, text.count(old)
    (folder / source).write_text(text.replace(old, new))
    problems, _ = check(preprocessed(folder, source))
    assert len(problems) >= 1
    assert any(says in problem for problem in problems), problems
