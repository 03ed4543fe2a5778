"""`hwmoe synth` on a small project: the whole machine down to LUTs, and what it refuses."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_models import small

from hwmoe import cli
from hwmoe.dse.defaults import multipliers_of
from hwmoe.errors import HwmoeError
from hwmoe.flow.hardware import generate
from hwmoe.flow.synth import show_synthesis
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
)
from hwmoe.plan.board import load_board
from hwmoe.synth.resources import Cells, ModuleCells, Resources

MACHINE = AcceleratorConfig(
    linear=LinearConfig(t_in=8, t_out=4, t_epi=2),
    attention=AttentionConfig(rows=2, dim_lanes=2),
    layernorm=LayerNormConfig(lanes=2),
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


@pytest.mark.slow
def test_small_project(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project")
    code, out, err = hwmoe("synth", folder, "--json")
    assert code == 0, err
    assert "synthesis: 6 in" in err
    result = json.loads(out)
    predicted = result.pop("predicted")
    assert result == {"folder": str(folder)} | json.loads((folder / "resources.json").read_text())
    result["predicted"] = predicted
    total, modules = result["total"], result["modules"]

    assert result["top"] == "hwmoe_top"
    assert {"hwmoe_top", "hwmoe_linear", "hwmoe_attention", "hwmoe_act_ram"} <= set(modules)
    assert "hwmoe_dsp48e2_model" not in modules  # for simulation only
    accelerator = AcceleratorConfig.model_validate(
        json.loads((folder / "hwmoe.json").read_text())["accelerator"]
    )
    assert total["dsp"] == multipliers_of(accelerator)
    assert predicted["total"]["dsp"] == total["dsp"]
    assert set(predicted["modules"]) <= set(modules)
    assert total["latch"] == total["uram"] == 0
    assert total["lut_sites"] == total["lut"] + total["lutram"] + total["srl"]
    assert result["share"]["dsp"] == total["dsp"] / load_board("zcu102").resources.dsp
    assert "uram" not in result["share"]  # this board has none
    for name in total:
        assert total[name] == sum(row[name] for row in modules.values())
    assert total["lut"] > 5000
    assert total["ff"] > 5000
    assert not [name for name in result["other"] if name.startswith("$")]  # all is mapped

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
    made = folder / "build" / "synth" / "hwmoe_top" / "stat.json"
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


CELLS = {"clock": Cells(lut=700, ff=90), "hwmoe_top": Cells(lut=20, srl=5, dsp=3, ramb18=1)}
FOUND = Resources(
    "hwmoe_top",
    tuple(ModuleCells(name, 1 + place, cells) for place, (name, cells) in enumerate(CELLS.items())),
    sum(CELLS.values(), Cells()),
    {"INV": 2},
)


def test_what_is_counted_is_kept_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the counting itself left out, which takes minutes."""
    folder = write_project(tmp_path / "project")

    def synthesize(sources: list[Path], top: str, parts: tuple[str, ...], *rest: Any) -> Resources:
        assert sorted(sources) == sorted((folder / "rtl").iterdir())
        modules = {path.stem for path in sources}
        assert {top, *parts} <= modules
        assert "hwmoe_dsp48e2_model" not in modules  # for simulation only
        rest[-1](len(parts) + 1, len(parts) + 1)
        return FOUND

    monkeypatch.setattr("hwmoe.synth.project.synthesize_parts", synthesize)
    code, out, err = hwmoe("synth", folder, "--json")
    assert code == 0, err
    assert "synthesis: 6 in" in err
    result = json.loads(out)
    predicted = result.pop("predicted")
    assert result == {"folder": str(folder)} | json.loads((folder / "resources.json").read_text())
    result["predicted"] = predicted
    assert result["digest"] == json.loads((folder / "hwmoe.json").read_text())["digest"]
    assert result["total"]["lut_sites"] == 725
    assert result["share"]["dsp"] == 3 / 2520
    code, out, err = hwmoe("synth", folder)
    for part in ("hwmoe_top", "clock", "720", "not Vivado", "the whole machine"):
        assert part in out


def test_too_little_time_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_project(tmp_path / "project")

    def late(*_: object) -> Resources:
        raise HwmoeError("synthesis of hwmoe_linear: python did not finish within 5 s")

    monkeypatch.setattr("hwmoe.synth.project.synthesize_parts", late)
    code, _, err = hwmoe("synth", folder, "--timeout", "5")
    assert code == 2
    assert "did not finish within 5 s" in err
    assert "--timeout" in err


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
