"""`hwmoe synth` on a small project: both kernels down to LUTs, and what it refuses."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from small_models import small

from hwmoe import cli
from hwmoe.dse.defaults import multipliers_of
from hwmoe.flow.hardware import generate
from hwmoe.flow.synth import show_synthesis
from hwmoe.plan.accelerator import AcceleratorConfig, AttentionConfig, LinearConfig
from hwmoe.plan.board import load_board

MACHINE = AcceleratorConfig(
    linear=LinearConfig(t_in=4, t_out=4, t_epi=2, max_tokens=24, x_words=160),
    attention=AttentionConfig(rows=2, dim_lanes=2, max_tokens=24, max_dim_tiles=4),
)


def hwmoe(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def write_project(folder: Path, board: str = "zcu102") -> Path:
    generate(small().quantized, load_board(board), "small", MACHINE).write(folder)
    return folder


def test_small_project(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project")
    code, out, err = hwmoe("synth", folder, "--json")
    assert code == 0, err
    assert "synthesis: 2 in" in err
    result = json.loads(out)
    assert result == {"folder": str(folder)} | json.loads((folder / "resources.json").read_text())
    total, kernels = result["total"], result["kernels"]

    accelerator = json.loads((folder / "hwmoe.json").read_text())["accelerator"]
    assert total["dsp"] == multipliers_of(AcceleratorConfig.model_validate(accelerator))
    assert total["latch"] == total["uram"] == 0
    assert total["lut_sites"] == total["lut"] + total["lutram"] + total["srl"]
    assert result["share"]["dsp"] == total["dsp"] / load_board("zcu102").resources.dsp
    assert "uram" not in result["share"]  # this board has none
    for name in total:
        rows = [kernel["modules"].values() for kernel in kernels.values()]
        assert total[name] == sum(row[name] for kernel in rows for row in kernel)
    for kernel in kernels.values():
        assert kernel["total"]["lut"] > 500
        assert kernel["total"]["ff"] > 500
        assert kernel["total"]["carry"] > 50
        assert not [name for name in kernel["other"] if name.startswith("$")]  # all is mapped

    # For people; then once more, from what is kept.
    text = io.StringIO()
    show_synthesis(result, Console(file=text, width=100))
    for part in (
        "hwmoe_attn_row",
        "hwmoe_linear_sequencer",
        "not Vivado",
        "place and route",
        "not packed",
    ):
        assert part in text.getvalue()
    made = folder / "build" / "synth" / "hwmoe_linear" / "stat.json"
    before = made.stat().st_mtime_ns
    code, out, err = hwmoe("synth", folder, "--json")
    assert code == 0, err
    assert json.loads(out) == result
    assert made.stat().st_mtime_ns == before

    # A source that Yosys rejects: said, and the result of before stays.
    source = folder / "rtl" / "hwmoe_skid.sv"
    source.write_text(source.read_text().replace("endmodule", "endmodul"))
    kept = (folder / "resources.json").read_bytes()
    code, out, err = hwmoe("synth", folder)
    assert code == 2
    assert not out
    assert "hwmoe_skid.sv:" in err
    assert "syntax error" in err
    assert (folder / "resources.json").read_bytes() == kept


@pytest.mark.parametrize("name", ["missing", "empty", "file"])
def test_bad_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = hwmoe("synth", tmp_path / name)
    assert code == 2
    assert not out
    assert "not a project of hwmoe" in err
    assert sorted(tmp_path.rglob("*")) == before


def test_only_ultrascale_plus(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project")
    marker = folder / "hwmoe.json"
    marker.write_text(marker.read_text().replace("xczu9eg-ffvb1156-2-e", "xc7z020clg400-1"))
    code, _, err = hwmoe("synth", folder)
    assert code == 2
    assert "UltraScale+ only" in err
