"""`hwmoe upcycle` and `hwmoe train` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwmoe import cli
from hwmoe.model.zoo import load_model

GEOMETRY = """
name = "tiny"
image = [8, 8]
patch = [4, 4]
channels = 3
dim = 8
heads = 2
depth = 2
dense_hidden = 12
[[tasks]]
name = "kind"
classes = 2
"""


def hwmoe(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A geometry and a folder of pictures of two classes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(GEOMETRY)
    for number, name in enumerate(("dark", "light")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(12):
            colour = (20 + 200 * number, 5 * i, 5 * i)
            Image.new("RGB", (9, 9), colour).save(tmp_path / "data" / name / f"{i:02}.png")
    return tmp_path


def test_dense_to_ternary_experts(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown, _ = hwmoe(
        capsys, "upcycle", "tiny.toml", "--experts", "4", "--hidden", "6", "--out", "m.safetensors"
    )
    assert code == 0
    assert "layers 1 have 4 experts, top-1 (hidden 6)" in shown
    train = ("train", "m.safetensors", "--data", "data", "--epochs", "2", "--batch", "8")
    code, shown, said = hwmoe(capsys, *train, "--augment", "flip", "--out", "t.safetensors")
    assert code == 0, said
    assert "Written t.safetensors, t.json, t.png" in shown
    log = json.loads((tiny / "t.json").read_text())
    assert [entry["epoch"] for entry in log["history"]] == [1, 2]
    assert log["after"]["ternary"] == log["history"][-1]["ternary"]
    assert log["data"]["images"] + log["test"]["images"] == 24
    with Image.open(tiny / "t.png") as curves:
        assert curves.format == "PNG"
        assert len(np.unique(np.asarray(curves))) > 10
    assert not (tiny / "t.safetensors.state").exists()
    assert load_model("t.safetensors").config.experts == 4
    # And the next verb takes it, with the same folder.
    quantize = ("quantize", "t.safetensors", "--experts", "ternary", "--images", "data")
    assert hwmoe(capsys, *quantize, "--out", "q.safetensors")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tiny.toml", "--data", "data"), "has no experts: give it some with `hwmoe upcycle`"),
        (("tiny.toml", "--experts", "float"), "give --data a folder or an .npz"),
        (("tiny.toml", "--experts", "float", "--data", "data", "--rate", "7"), "rate: "),
        (("tiny.toml", "--data", "none", "--experts", "float"), "does not exist"),
        (
            ("tiny.toml", "--data", "data", "--experts", "float", "--resume"),
            "no run to resume",
        ),
    ],
)
def test_what_a_user_gets_wrong(
    tiny: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    code, _, said = hwmoe(capsys, "train", *arguments, "--out", "out.safetensors")
    assert code == 2
    assert message in said
    assert "Traceback" not in said
    assert not (tiny / "out.safetensors").exists()


def test_a_stopped_run_is_not_overwritten(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny / "out.safetensors.state").write_bytes(b"x")
    code, _, said = hwmoe(capsys, "train", "tiny.toml", "--out", "out.safetensors")
    assert (code, "go on with --resume, or delete it" in said) == (2, True)
