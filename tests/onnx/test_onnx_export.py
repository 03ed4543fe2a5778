"""The exported graph in onnxruntime, an independent implementation, against the integers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from small_models import small

from hwmoe.cli import main
from hwmoe.errors import HwmoeError
from hwmoe.model.data import digits_images
from hwmoe.model.zoo import load_model
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.onnx.export import export_onnx, save_onnx
from hwmoe.quant.onnx.witness import Witness, run_onnx, witness
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import Experts, QuantizedModel
from hwmoe.quant.reference import run_reference

# docs/onnx.md promises these.
SAME_ANSWER, RMS, LARGEST, LARGEST_SAME_EXPERTS = 0.99, 0.04, 0.25, 0.05


def within(found: list[Witness]) -> bool:
    return all(
        w.same_answer >= SAME_ANSWER and w.rms_error <= RMS and w.max_error <= LARGEST
        for w in found
    )


@pytest.fixture(scope="module", params=["int8", "ternary"])
def digits(request: pytest.FixtureRequest) -> QuantizedModel:
    kind: Experts = request.param
    return quantize(load_model("digits"), digits_images().calibration[:256], kind)


def test_digits_agree_on_both_tasks(digits: QuantizedModel, tmp_path: Path) -> None:
    images = digits_images()
    save_onnx(digits, tmp_path / "digits.onnx")
    found = witness(digits, tmp_path / "digits.onnx", images.test)
    assert [w.task for w in found] == ["digit", "parity"]
    assert within(found), found
    assert images.labels is not None
    logits = run_onnx(tmp_path / "digits.onnx", images.test)
    for task, values in zip(("digit", "parity"), logits, strict=True):
        assert (values.argmax(1) == images.labels[task]).mean() > 0.97


def test_large_differences_are_tokens_that_switched() -> None:
    """Images whose tokens all go to the reference's experts agree closely."""
    images = digits_images()
    model = quantize(load_model("digits"), images.calibration[:256], "int8")
    run = run_reference(model, model.quantize_images(images.test), trace=True)
    assert run.trace is not None
    proto = export_onnx(model)
    names = {layer: f"blocks.{layer}.moe.topk:1" for layer in model.config.moe_layers}
    for name in names.values():
        proto.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.INT64, None))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    logits, *chosen = session.run(["digit", *names.values()], {"images": images.test})
    same = np.ones(len(images.test), bool)
    for layer, theirs in zip(names, chosen, strict=True):
        ours = run.trace[f"blocks.{layer}.moe.topk"]
        same &= (np.sort(ours, -1) == np.sort(theirs, -1)).all((1, 2))
    exact = run.logits * np.asarray(model.scales["head.0"])
    error = np.abs(logits - exact).max(1) / np.abs(exact).max()
    assert same.mean() > 0.2
    assert error[same].max() <= LARGEST_SAME_EXPERTS


@pytest.mark.parametrize("op", ["blocks.0.qkv", "blocks.2.mlp.fc2", "patch_embed", "heads.0"])
def test_the_witness_sees_a_fault(op: str, tmp_path: Path) -> None:
    """One operation of the graph has multipliers a quarter too large."""
    net = small(count=32, depth=3)
    save_onnx(net.quantized, tmp_path / "good.onnx")
    assert within(witness(net.quantized, tmp_path / "good.onnx", net.images))
    params = net.quantized.linear(op)
    larger = replace(params, multiplier=(params.multiplier * 5 // 4).astype(np.int32))
    wrong = replace(net.quantized, ops={**net.quantized.ops, op: larger})
    save_onnx(wrong, tmp_path / "wrong.onnx")
    assert not within(witness(net.quantized, tmp_path / "wrong.onnx", net.images))


@pytest.mark.parametrize("kind", ["int8", "ternary"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pixel_mean": (0.4, 0.5), "pixel_std": (0.2, 0.3), "shared_hidden": 0, "top_k": 3},
        {"moe_layers": ()},
        {"gate_scores": "all", "top_k": 3},
        {"gate_scores": "all", "top_k": 1, "shared_hidden": 0},
    ],
)
def test_every_tensor_is_close(kind: Experts, changes: dict[str, object]) -> None:
    """Not only the logits: each rounded tensor, step by step, without experts switching."""
    net = small(kind, count=16, **changes)
    proto = export_onnx(net.quantized)
    known = {output for node in proto.graph.node for output in node.output}
    trace = run_reference(net.quantized, net.patches, 0, trace=True).trace
    assert trace is not None
    steps = {"int8": 2, "int16": 400}
    names = [
        n for n, v in trace.items()
        if n in known and n in net.quantized.scales and ".experts." not in n
    ]  # fmt: skip
    names = [n for n in names if trace[n].dtype != np.int64]
    for name in names:
        proto.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    found = dict(zip(names, session.run(names, {"images": net.images}), strict=True))
    assert len(names) > 10
    for name in names:
        exact = trace[name]
        whole = found[name].reshape(exact.shape) / np.asarray(net.quantized.scales[name])
        distance = np.abs(np.round(whole) - exact)
        assert np.median(distance) == 0 or exact.dtype == np.int16, name
        assert np.quantile(distance, 0.99) <= steps[exact.dtype.name], name


def test_weights_are_stored_as_integers(digits: QuantizedModel) -> None:
    proto = export_onnx(digits)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for name, params in digits.ops.items():
        if isinstance(params, LinearParams) and name != "patch_embed":
            np.testing.assert_array_equal(stored[f"{name}.weight.int"], params.weight.T)
            assert stored[f"{name}.weight.int"].dtype == np.int8
            assert stored[f"{name}.weight.scale"].shape == (len(params.weight),)
    domains = {node.domain for node in proto.graph.node}
    assert domains == {""}
    assert {n.op_type for n in proto.graph.node} >= {"TopK", "ScatterElements", "QuantizeLinear"}


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = small("ternary", count=8)
    source, out = tmp_path / "q.safetensors", tmp_path / "q.onnx"
    net.quantized.save(source)
    arguments = ["export", str(source), "--out", str(out)]
    assert main([*arguments, "--json", "--count", "5"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bytes"] == out.stat().st_size
    assert [task["images"] for task in result["tasks"]] == [5, 5]
    assert main(arguments) == 0
    assert "gives the integer reference's answer" in capsys.readouterr().out
    first = out.read_bytes()
    assert main(arguments) == 0
    assert out.read_bytes() == first
    assert not list(tmp_path.glob("*.part"))


def test_bad_targets(tmp_path: Path) -> None:
    source = tmp_path / "q.safetensors"
    small().quantized.save(source)
    for out in (tmp_path, tmp_path / "x.txt", tmp_path / "missing" / "x.onnx"):
        assert main(["export", str(source), "--out", str(out)]) == 2
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "x.onnx")]) == 2
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(HwmoeError, match="onnxruntime does not run"):
        run_onnx(tmp_path / "broken.onnx", small().images)
