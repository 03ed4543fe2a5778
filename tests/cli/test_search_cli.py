"""`hwmoe search` as a user types it: the plan, its files, and where the plan goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import TINY

from hwmoe import cli
from hwmoe.codegen.project import PROGRAM
from hwmoe.model.zoo import load_model
from hwmoe.plan.program import Program
from hwmoe.quant.quantize import quantize

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def plan(tiny: Path) -> Path:
    out = tiny.parent / "plan"
    words = ["search", str(tiny), "--board", "zcu104", "--experts", "ternary", "--out", str(out)]
    assert cli.main([*words, "--jobs", "1", "--predicted", "1"]) == 0
    return out


def test_the_plan_and_its_plots(plan: Path) -> None:
    found: dict[str, Any] = json.loads((plan / "plan.json").read_text())
    assert (found["model"], found["board"], found["experts"]) == ("tiny", "zcu104", "ternary")
    assert found["cycles"] > 0
    assert found["ms"] == pytest.approx(found["cycles"] / found["clock_mhz"] / 1e3, rel=1e-3)
    for name, share in found["shares"].items():
        assert 0 <= share <= found["shares_allowed"][name]
        assert share > 0 or name == "uram"  # no memory of the machine is one
    assert (plan / "pareto.png").read_bytes().startswith(PNG)
    page = (plan / "pareto.html").read_text()
    assert "tiny" in page
    assert "src=" not in page
    assert "href=" not in page
    start = page.index('type="application/json">') + len('type="application/json">')
    data = json.loads(page[start : page.index("</script>", start)])
    front = data["front"]
    assert [row["size"] for row in front] == sorted(row["size"] for row in front)
    assert [row["cycles"] for row in front] == sorted((r["cycles"] for r in front), reverse=True)
    assert any(row["predicted"] == found["cycles"] for row in data["rows"])


def test_a_project_is_made_by_the_plan(plan: Path, tiny: Path, tmp_path: Path) -> None:
    model = load_model(str(tiny)).eval()
    shape = (4, model.config.channels, *model.config.image)
    images = np.random.default_rng(0).random(shape, np.float32)
    quantize(model, images, "ternary").save(tmp_path / "q.safetensors")
    words = ["generate", str(tmp_path / "q.safetensors"), "--board", "zcu104"]
    assert cli.main([*words, "--plan", str(plan), "--out", str(tmp_path / "made")]) == 0
    own = json.loads((plan / "plan.json").read_text())["accelerator"]
    program = Program.load(tmp_path / "made" / PROGRAM)
    assert program.accelerator.model_dump(exclude_none=True) == own


def test_a_plan_of_another_board_is_refused(
    plan: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(tiny), "--board", "u50", "--plan", str(plan), "--out", str(tmp_path / "x")]
    assert cli.main(words) == cli.BAD_INPUT
    said = capsys.readouterr().err
    assert "board: the plan is for zcu104, not u50" in said
    assert "experts: the plan is for ternary, not int8" in said
    (tmp_path / "other.json").write_text('{"kind": "else"}')
    words = ["run", str(tiny), "--plan", str(tmp_path / "other.json"), "--out", str(tmp_path / "x")]
    assert cli.main(words) == cli.BAD_INPUT
    assert "not a plan; `hwmoe search" in capsys.readouterr().err


def test_boards_side_by_side(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small.toml"
    board = Path(cli.__file__).parents[1] / "boards" / "pynq-z2.toml"
    text = board.read_text().replace('name = "pynq-z2"', 'name = "few"')
    small.write_text(text.replace("dsp = 220", "dsp = 22"))
    words = ["search", str(tiny), "--compare", f"u50,{small}", "--json", "--predicted", "1"]
    assert cli.main(words) == 0
    fits, refused = json.loads(capsys.readouterr().out)["boards"]
    assert fits["board"] == "u50"
    assert refused["refused"].startswith("few has too few resources for tiny:\n  DSPs: ")
    assert cli.main(words[:4]) == 0
    table = capsys.readouterr().out
    assert "DSPs:" in table


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rate", "1e9"], "images/s of tiny are"),
        (["--rate", "5", "--objective", "latency"], "give both or neither"),
        (["--share", "lut"], "give NAME=PERCENT"),
        (["--share", "lut=120"], "share of lut 1.2: give more than 0, at most 1"),
        (["--resume"], "give --out too"),
        (["--compare", "u50", "--out", "x"], "leave out --out"),
        (["--board", "nothing"], "unknown board"),
        (["--measure", "2"], "give --out too"),
        (["--measure", "2", "--compare", "u50"], "leave out --out, --resume and --measure"),
        (["--timeout", "9", "--scheduler", "a:1"], "--timeout, --scheduler: of --measure N"),
    ],
)
def test_bad_input(
    words: list[str], says: str, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["search", str(tiny), "--jobs", "1", *words]) == cli.BAD_INPUT
    assert says in capsys.readouterr().err
