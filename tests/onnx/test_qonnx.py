"""A model trained with Brevitas, through QONNX: weights, scales, and the integers made of them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes

from hwmoe.errors import HwmoeError
from hwmoe.flow.hardware import generate
from hwmoe.model.checkpoint import SCALES_KEY, load_checkpoint, save_checkpoint
from hwmoe.model.loaders.imported import Imported, ImportFailed
from hwmoe.model.loaders.load import import_file
from hwmoe.plan.board import load_board
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import brevitas.nn as qnn
    from brevitas_model import QuantViT, export, trained

IMAGES = np.random.default_rng(3).random((8, 3, 8, 12), np.float32)
CALIBRATION = np.random.default_rng(4).random((32, 3, 8, 12), np.float32)


@pytest.fixture(scope="module")
def source() -> QuantViT:
    return trained(experts=True)


@pytest.fixture(scope="module")
def path(source: QuantViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qonnx") / "brevitas.onnx"
    export(source, path, batch=len(IMAGES))
    return path


@pytest.fixture(scope="module")
def imported(path: Path) -> Imported:
    return import_file(path)


@pytest.fixture(scope="module")
def quantized(imported: Imported) -> QuantizedModel:
    return quantize(imported.model(), CALIBRATION, "ternary")


def codes(layer: qnn.QuantLinear) -> np.ndarray:
    """The integer weights that Brevitas stands by."""
    return layer.quant_weight().int().numpy()


def test_weights_and_scales_are_kept(
    source: QuantViT, imported: Imported, quantized: QuantizedModel
) -> None:
    assert imported.family == "QONNX"
    pairs = {
        "blocks.0.qkv": source.blocks[0].attn.qkv,
        "blocks.0.proj": source.blocks[0].attn.proj,
        "blocks.0.mlp.fc1": source.blocks[0].mlp.fc1,
        "blocks.1.moe.gate.0": source.blocks[1].mlp.gate,
        "heads.0": source.head,
    }
    for name, layer in pairs.items():
        np.testing.assert_array_equal(quantized.linear(name).weight, codes(layer), name)
    for e, expert in enumerate(source.blocks[1].mlp.experts):
        weight = quantized.linear(f"blocks.1.moe.experts.{e}.fc1").weight
        np.testing.assert_array_equal(weight, codes(expert.fc1))
        assert set(np.unique(weight)) <= {-1, 0, 1}
    scale = source.blocks[0].attn.qkv.quant_weight().scale.detach().reshape(-1)
    torch.testing.assert_close(imported.scales["blocks.0.qkv.weight"], scale)
    activations = {
        "input": source.in_act,
        "blocks.0.norm1": source.blocks[0].act1,
        "blocks.0.attn": source.blocks[0].attn.out_act,
        "blocks.1.norm2": source.blocks[1].act2,
        "norm": source.act,
    }
    for name, act in activations.items():
        assert quantized.scales[name] == pytest.approx(float(act.act_quant.scale()), rel=1e-6)
    steps = np.asarray(quantized.scales["blocks.1.qkv"])[::12]
    attention = source.blocks[1].attn
    for step, act in zip(steps, (attention.q_act, attention.k_act, attention.v_act), strict=True):
        assert step == pytest.approx(float(act.act_quant.scale()), rel=1e-6)
    assert "scales that came with the model" in quantized.calibration


def test_the_integers_answer_as_qonnx_does(path: Path, quantized: QuantizedModel) -> None:
    """qonnx's own execution of the file, quantizers and all, as a witness."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ModelWrapper(str(path)).transform(InferShapes())
        name = model.graph.input[0].name
        theirs = next(iter(execute_onnx(model, {name: IMAGES}).values()))
    run = run_reference(quantized, quantized.quantize_images(IMAGES))
    ours = run.logits * np.asarray(quantized.scales["head.0"])
    assert np.abs(ours - theirs).max() < 0.03 * np.abs(theirs).max()


def test_scales_survive_the_checkpoint(imported: Imported, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_checkpoint(file, imported.model())
    again = load_checkpoint(file)
    assert again.given_scales.keys() == imported.scales.keys()
    for name, value in imported.scales.items():
        assert torch.equal(again.given_scales[name], value)
    content = file.read_bytes()
    key = SCALES_KEY.encode()
    file.write_bytes(content.replace(key + b'":"{', key + b'":"['))
    with pytest.raises(HwmoeError, match="quantizer scales"):
        load_checkpoint(file)


def test_weights_that_left_their_grid_get_scales_of_their_own(imported: Imported) -> None:
    model = imported.model()
    name = "blocks.0.proj"
    with torch.no_grad():
        model.blocks[0].proj.weight.mul_(1.003)
    changed = quantize(model, CALIBRATION, "ternary")
    largest = np.abs(changed.linear(name).weight).max(axis=1)
    assert (largest == 127).all()


def test_brevitas_model_runs_bit_exact_in_hls(quantized: QuantizedModel, tmp_path: Path) -> None:
    hardware = generate(quantized, load_board("zcu102"), "brevitas")
    hardware.write(tmp_path / "project")
    run = hardware.check_hls(IMAGES)
    assert run.divergence is None, str(run.divergence)
    assert run.images == len(IMAGES)


def test_dense_model_by_the_default_exporter(tmp_path: Path) -> None:
    source = trained(experts=False)
    export(source, tmp_path / "model.onnx", dynamo=True)
    imported = import_file(tmp_path / "model.onnx")
    assert {"input", "blocks.1.mlp.gelu", "blocks.1.mlp.fc2.weight"} <= set(imported.scales)
    with torch.no_grad():
        ours = imported.model()(torch.from_numpy(IMAGES))
        theirs = source(torch.from_numpy(IMAGES))
    assert (ours - theirs).abs().max() < 0.1 * theirs.abs().max()  # its quantizers are in theirs


def test_quantizers_of_another_kind_are_reported(tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    source = trained(experts=False)
    source.in_act = qnn.QuantIdentity()
    export(source.eval(), tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    first = next(n for n in model.graph.node if n.op_type == "Quant")
    zero = numpy_helper.from_array(np.asarray(3.0, np.float32), "shifted")
    model.graph.initializer.append(zero)
    first.input[2] = "shifted"
    onnx.save(model, tmp_path / "shifted.onnx")
    with pytest.raises(ImportFailed, match="zero point is not 0; nearest: a symmetric quantizer"):
        import_file(tmp_path / "shifted.onnx")
