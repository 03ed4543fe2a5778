"""Modules mapped to LUTs in batches: every one once, and the cells that the whole design has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hwmoe.codegen.rtl_machine import machine_rtl
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.program import MachineSizes
from hwmoe.synth.driver import CELLS, batches
from hwmoe.synth.parts import needed
from hwmoe.synth.resources import resources_of
from hwmoe.synth.yosys import synthesize

SIZES = MachineSizes(256, 256, 256, 256, 1, 8, 64, 64)
SMALL = "from hwmoe.synth import driver; driver.CELLS = 300; driver.run('synth.ys')"


def test_small_modules_share_a_batch_and_large_ones_have_their_own() -> None:
    cells = {"top": 10, "a": CELLS - 10, "b": CELLS + 1, "c": 0, "d": CELLS}
    assert list(batches(cells)) == [["c", "top", "a"], ["d"], ["b"]]


def test_a_design_below_the_limit_is_one_batch_and_none_of_nothing() -> None:
    assert list(batches({"b": 1, "a": CELLS - 1})) == [["b", "a"]]
    assert list(batches({})) == []


@pytest.mark.slow  # 30 s
def test_batches_give_the_cells_of_the_whole_design(tmp_path: Path) -> None:
    texts = machine_rtl(AcceleratorConfig(), SIZES)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    work = tmp_path / "work"
    sources = needed([tmp_path / name for name in texts], "hwmoe_gate")
    whole = synthesize(sources, "hwmoe_gate", work)
    (work / "stat.json").unlink()
    log = subprocess.run(
        [sys.executable, "-c", SMALL], cwd=work, capture_output=True, text=True, timeout=600
    ).stdout
    assert log.count("design -copy-to whole") > 1
    stat = (work / "stat.json").read_text()
    assert resources_of(json.loads(stat[stat.index("{") :]), "hwmoe_gate") == whole
