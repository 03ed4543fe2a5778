"""`hwmoe import` as a user types it, and its result where a model is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hwmoe import cli
from hwmoe.model.zoo import load_model


def hwmoe(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The state dict of our digits model, without its configuration."""
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": load_model("digits").state_dict()}, path)
    return path


OPTIONS = ["--heads", "3", "--patch", "2", "--top-k", "2", "--tasks", "digit,parity"]
PIXELS = ["--pixel-mean", "0.305", "--pixel-std", "0.376", "--name", "digits"]


def test_import_and_use(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.safetensors"
    code, shown, said = hwmoe(
        capsys, "import", weights, *OPTIONS, *PIXELS, "--out", out, "--verbose"
    )
    assert (code, said) == (0, "")
    for text in (
        "Recognized  hwmoe MoEViT weights",
        "2 with 8 experts, top-2 (hidden 48 and a shared one of 48): 1, 3",
        "digit (10 classes), parity (2 classes)",
        "  blocks.1.moe.gate -> blocks.1.moe.gate",
        f"Written     {out}",
    ):
        assert text in shown
    code, shown, _ = hwmoe(
        capsys, "quantize", out, "--experts", "ternary", "--out", tmp_path / "q.safetensors"
    )
    assert code == 0
    assert torch.equal(
        load_model(str(out)).state_dict()["norm.weight"],
        load_model("digits").state_dict()["norm.weight"],
    )


def test_average_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    code, shown, _ = hwmoe(capsys, "import", "digits", "--average-experts")
    assert code == 0
    assert "145,116 to 77,628 parameters; scikit-learn digits" in shown
    rows = [
        line.split() for line in shown.splitlines() if line.split()[:1] in (["digit"], ["parity"])
    ]
    assert [row[1] for row in rows] == ["360", "360"]
    assert all(float(row[4]) > float(row[2]) - 5 or row[3] == "%" for row in rows)


def test_json_and_bad_input(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown, _ = hwmoe(capsys, "import", weights, *OPTIONS, "--json")
    assert code == 0
    assert json.loads(shown)["config"]["experts"] == 8
    code, _, said = hwmoe(capsys, "import", weights)
    assert code == 2
    assert all(f"  {name} (option)" in said for name in ("heads", "patch", "top-k"))
    for arguments, message in (
        (["--image", "8by8"], "--image '8by8': give HEIGHTxWIDTH"),
        (["--classes", "1.5"], "--classes '1.5': give whole numbers"),
        (["--pixel-std", "1,nan"], "--pixel-std '1,nan': give numbers"),
        (["--out", "x.pt"], "give --out the name of a .safetensors file"),
    ):
        code, _, said = hwmoe(capsys, "import", weights, *arguments)
        assert code == 2
        assert message in said
    code, _, said = hwmoe(capsys, "run", weights, "--out", tmp_path / "run")
    assert code == 2
    assert "`hwmoe import`" in said


def test_it_is_a_verb_of_its_own(tmp_path: Path) -> None:
    """In a process of its own: `hwmoe.cli` and `hwmoe.cli_import` name each other."""
    program = [sys.executable, "-m", "hwmoe.cli", "import", str(tmp_path / "none.pt")]
    run = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 2
    assert "none.pt does not exist; check the path" in run.stderr
