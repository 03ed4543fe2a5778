"""`hwmoe simulate --engine` from the command line, on stand-ins that are compiled: our kernels with
the port names and handshakes of Vitis HLS. A minute of processor time a build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from exported_stand_in import INSIDE, write_stand_in
from test_exported import edit, made, simulate

from hwmoe.cli import main
from hwmoe.flow import engine as flow
from hwmoe.flow.hardware import HardwareModel

__all__ = ["made"]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("engine", "style"), [("linear", "axis"), ("attention", "fifo")])
def test_bit_exact(
    engine: str,
    style: str,
    made: HardwareModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_stand_in(made.project, engine, tmp_path, style)
    options = ["--engine", f"{engine}={tmp_path}", "--count", "2", "--stall", "0.3", "--json"]
    assert main(["simulate", str(made.written()), *options]) == 0
    result = json.loads(capsys.readouterr().out)
    check = result["engines"][engine]
    assert result["bit_exact"]
    assert result["images"] == 2
    assert check["values"] > 500
    # The same kernel inside: the same cycles, but for the buffer behind an ap_fifo and stalls.
    assert check["cycles"] == pytest.approx(check["own_cycles"], rel=0.05)


def test_one_wrong_product(made: HardwareModel, tmp_path: Path) -> None:
    """In one lane of one output: the first wrong tensor is named."""
    path = write_stand_in(made.project, "linear", tmp_path)
    pin = "    .m_axis_y_TDATA(m_axis_y_TDATA)"
    edit(path, pin, "    .m_axis_y_TDATA(y_right)")
    wrong = "assign m_axis_y_TDATA = y_right == 64'd0 ? 64'd0 : y_right ^ 64'd1;"
    edit(path, f"{INSIDE} {INSIDE}_U (", f"wire [63:0] y_right;\n{wrong}\n{INSIDE} {INSIDE}_U (")
    result = simulate(made, f"linear={tmp_path}")
    assert not result["bit_exact"]
    divergence = result["engines"]["linear"]["divergence"]
    assert divergence.startswith("image 0, task 0: first difference in patch_embed[")


def test_engine_that_never_finishes(
    made: HardwareModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes no parameters: told in cycles, or in seconds."""
    path = write_stand_in(made.project, "linear", tmp_path)
    edit(path, "    .s_axis_p_TVALID(s_axis_p_TVALID)", "    .s_axis_p_TVALID(1'b0)")
    fault = simulate(made, f"linear={tmp_path}")["engines"]["linear"]["fault"]
    assert "did not finish within" in fault
    assert "s_axis_p" in fault
    assert "<- unfinished" in fault
    monkeypatch.setattr(flow, "PATIENCE", 10**9)
    folder, engine = made.written(), [f"linear={tmp_path}"]
    result = flow.simulate_engines(folder, engine, None, 1, 0.0, 0, 2.0, lambda *_: None)
    assert "did not finish within 2 s: stopped in cycle" in result["engines"]["linear"]["fault"]
