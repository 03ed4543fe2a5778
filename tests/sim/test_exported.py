"""`hwmoe simulate --engine`: a kernel with the ports of Vitis HLS in our bench, on real layers.

Our SystemVerilog stands in for what Vitis would export: Vitis itself is not here.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from exported_stand_in import INSIDE, write_stand_in
from small_models import small

from hwmoe.errors import HwmoeError
from hwmoe.flow import engine as flow
from hwmoe.flow.hardware import HardwareModel, generate
from hwmoe.plan.accelerator import AcceleratorConfig, AttentionConfig, LayerNormConfig, LinearConfig
from hwmoe.plan.board import load_board
from hwmoe.quant.calibrate import no_progress

MACHINE = AcceleratorConfig(
    linear=LinearConfig(t_in=8, t_out=8, t_epi=4, w_rows=1),
    attention=AttentionConfig(rows=2, dim_lanes=4),
    layernorm=LayerNormConfig(lanes=4),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> HardwareModel:
    hardware = generate(small("ternary").quantized, load_board("zcu102"), "small", MACHINE)
    hardware.write(tmp_path_factory.mktemp("engine") / "project")
    return hardware


def simulate(made: HardwareModel, *engines: str, stall: float = 0.0) -> flow.Result:
    folder = made.written()
    return flow.simulate_engines(folder, list(engines), None, 1, stall, 0, 600.0, no_progress)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new))


def planted(made: HardwareModel, folder: Path, old: str, new: str) -> str:
    """What is said of a stand-in for the linear kernel whose top file is changed."""
    edit(write_stand_in(made.project, "linear", folder), old, new)
    with pytest.raises(HwmoeError) as error:
        simulate(made, f"linear={folder}")
    return str(error.value)


def test_ports_are_all_checked_at_once(made: HardwareModel, tmp_path: Path) -> None:
    path = write_stand_in(made.project, "linear", tmp_path / "linear")
    edit(path, "input  [63:0] s_axis_x_TDATA;", "input  [31:0] s_axis_x_TDATA;")
    text = re.sub(r"(?<!\.)s_axis_table_", "s_axis_tables_", path.read_text())
    text = text.replace("ap_rst_n,\n", "ap_rst_n,\n        start_now,\n", 1)
    path.write_text(text.replace("input   ap_rst_n;", "input   ap_rst_n;\ninput   start_now;"))
    other = write_stand_in(made.project, "attention", tmp_path / "attention")
    other.unlink()
    with pytest.raises(HwmoeError) as error:
        simulate(made, f"linear={tmp_path / 'linear'}", f"attention={tmp_path / 'attention'}")
    said = str(error.value)
    assert "s_axis_x_TDATA: expected input of 64 bits, found input of 32 bits" in said
    assert "s_axis_table: neither s_axis_table_TDATA nor s_axis_table_dout" in said
    assert "s_axis_tables_TVALID: an input that this bench does not drive" in said
    assert "start_now: an input that this bench does not drive" in said
    assert "no hwmoe_attention.v in it or below" in said


def test_verilog_that_is_not_whole(made: HardwareModel, tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    (write_stand_in(made.project, "linear", folder).parent / f"{INSIDE}.sv").unlink()
    with pytest.raises(HwmoeError, match=f"ports of hwmoe_linear.*(?s:.*){INSIDE}"):
        simulate(made, f"linear={folder}")


def test_table_that_is_missing(made: HardwareModel, tmp_path: Path) -> None:
    new = 'initial $readmemh("./hwmoe_linear_rom.dat", rom);\nendmodule //hwmoe_linear'
    said = planted(made, tmp_path, "endmodule //hwmoe_linear", new)
    assert "tables are missing:\n  hwmoe_linear_rom.dat, which hwmoe_linear.v reads" in said


def test_two_different_exports(made: HardwareModel, tmp_path: Path) -> None:
    write_stand_in(made.project, "linear", tmp_path / "one")
    path = write_stand_in(made.project, "linear", tmp_path / "two")
    path.write_text(path.read_text() + "// later\n")
    with pytest.raises(HwmoeError, match=r"several different hwmoe_linear: .*one.*two"):
        simulate(made, f"linear={tmp_path}")


def test_words_of_the_option(made: HardwareModel, tmp_path: Path) -> None:
    with pytest.raises(HwmoeError) as error:
        flow.parse_engines(["vector=x", "linear", "linear=a", "linear=b"])
    said = str(error.value)
    assert "vector=x: not ENGINE=DIR" in said
    assert "  linear: not ENGINE=DIR" in said
    assert "linear=b: linear is given twice" in said
    with pytest.raises(HwmoeError, match="no such folder"):
        simulate(made, f"linear={tmp_path / 'nothing'}")
