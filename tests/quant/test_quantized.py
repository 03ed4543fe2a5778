"""The quantized model as a file."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from small_models import small

from hwmoe.errors import HwmoeError
from hwmoe.model.checkpoint import save_checkpoint
from hwmoe.quant import numerics
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference


@pytest.mark.parametrize("kind", ["int8", "ternary"])
def test_round_trip(kind: Any, tmp_path: Path) -> None:
    net = small(kind)
    path = tmp_path / "model.safetensors"
    net.quantized.save(path)
    again = QuantizedModel.load(path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    assert again.config == net.config
    assert again.experts == kind
    assert again.calibration == net.quantized.calibration
    assert np.array_equal(again.position, net.quantized.position)
    assert again.position.dtype == np.int16
    assert list(again.ops) == list(net.quantized.ops)
    for name, p in net.quantized.ops.items():
        other = again.ops[name]
        assert type(other) is type(p)
        for field in fields(p):
            a, b = getattr(p, field.name), getattr(other, field.name)
            if isinstance(a, np.ndarray):
                assert np.array_equal(a, b), (name, field.name)
                assert a.dtype == b.dtype
            else:
                assert a == b, (name, field.name)
                assert type(a) is type(b), (name, field.name)
    assert again.scales.keys() == net.quantized.scales.keys()
    for name, scale in net.quantized.scales.items():
        assert np.array_equal(again.scales[name], scale), name
    logits = [run_reference(m, net.patches, 1).logits for m in (net.quantized, again)]
    assert np.array_equal(*logits)
    assert str(again) == str(net.quantized)


def test_a_wrong_kind_of_operation_is_a_fault() -> None:
    with pytest.raises(AssertionError, match="NormParams"):
        small().quantized.linear("norm")


def test_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(HwmoeError, match="no such file; `hwmoe quantize` writes one"):
            QuantizedModel.load(path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff" * 100])
def test_not_safetensors(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(HwmoeError, match="not a safetensors file"):
        QuantizedModel.load(path)


def test_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    small().quantized.save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(HwmoeError, match="not a safetensors file"):
        QuantizedModel.load(path)


def test_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(HwmoeError, match="not a quantized model"):
        QuantizedModel.load(path)
    save_checkpoint(path, small().model)
    with pytest.raises(HwmoeError, match="not a quantized model"):
        QuantizedModel.load(path)


def test_another_number_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    monkeypatch.setattr(numerics, "FORMAT", 77)
    small().quantized.save(path)
    monkeypatch.undo()
    with pytest.raises(HwmoeError, match=f"number format 77, this hwmoe has {numerics.FORMAT}"):
        QuantizedModel.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    model = small().quantized
    model.save(path)
    before = load_file(path)
    broken = replace(model, position=np.array(["no", "numbers"]))  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r".+"):
        broken.save(path)
    assert load_file(path).keys() == before.keys()
    QuantizedModel.load(path)
