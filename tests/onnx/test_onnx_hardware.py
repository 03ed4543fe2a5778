"""A mixture of experts of someone else, from its ONNX file to the generated HLS, bit by bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from foreign_models import ViT, export

from hwmoe.cli import main
from hwmoe.flow.hardware import convert
from hwmoe.model.zoo import load_model


def test_import_quantize_simulate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = export(ViT("head-first", "scored"), tmp_path / "theirs.onnx")
    ours = tmp_path / "ours.safetensors"
    assert main(["import", str(source), "--out", str(ours)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Recognized ONNX" in shown
    assert "1 with 4 experts, top-2 of a softmax over all" in shown
    assert "agree within" in shown
    assert main(["import", str(source), "--json"]) == 0
    keys = json.loads(capsys.readouterr().out)["keys"]
    assert keys["blocks.1.moe.fc1.weight"] == "blocks.1.mlp.w1, blocks.1.mlp.b1"
    images = np.random.default_rng(1).random((12, 3, 8, 12), np.float32)
    hardware = convert(load_model(str(ours)), images, experts="ternary")
    hardware.write(tmp_path / "project")
    run = hardware.check_hls(images)
    assert run.divergence is None, str(run.divergence)
    assert run.images == len(images)
    assert run.tensors > 20


def test_what_cannot_be_imported_is_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\xff")
    assert main(["import", str(tmp_path / "bad.onnx")]) == 2
    assert "is not an ONNX file" in capsys.readouterr().err
