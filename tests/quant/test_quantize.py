"""The quantizer: proven accumulators, scales, codes, ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import Small, small

from hwmoe.errors import HwmoeError
from hwmoe.model.zoo import load_model
from hwmoe.quant import numerics
from hwmoe.quant.calibrate import Ranges, calibrate
from hwmoe.quant.kernels import AttentionParams, GateParams, LinearParams, NormParams
from hwmoe.quant.quantize import quantize, quantize_weights
from hwmoe.quant.quantized import QuantizedModel
from hwmoe.quant.reference import run_reference

Floats = npt.NDArray[np.float64]


def bounds(weight: npt.NDArray[np.integer[Any]], bias: npt.NDArray[np.integer[Any]]) -> list[int]:
    """Largest magnitude of the accumulator for each channel, in Python integers."""
    return [
        abs(b) + 128 * sum(map(abs, row))
        for row, b in zip(weight.tolist(), bias.tolist(), strict=True)
    ]


def check_contract(model: QuantizedModel) -> None:
    """All of section 1 and 2 that the stored constants can break."""
    for name, p in model.ops.items():
        if isinstance(p, LinearParams):
            assert max(bounds(p.weight, p.bias)) < 2**26, name
            assert 0 <= p.multiplier.min() <= p.multiplier.max() < 2**17, name
            assert p.weight.min() >= (-1 if p.ternary else -127), name
            assert p.weight.max() <= (1 if p.ternary else 127), name
            assert p.shift in numerics.SHIFTS
            assert p.weight.dtype == np.int8
            assert p.bias.dtype == p.multiplier.dtype == np.int32
        elif isinstance(p, AttentionParams):
            assert 0 <= p.score_mult < 2**17
            assert 2**15 <= p.out_mult < 2**16
            assert 8 <= p.out_shift <= 24
            assert p.score_shift in numerics.SHIFTS
        elif isinstance(p, NormParams):
            assert np.abs(p.gain).max() < 2**17, name
            assert 1 <= p.eps <= 2**40
        else:
            assert isinstance(p, GateParams)
            assert 0 <= p.score_mult < 2**17


@pytest.mark.parametrize("kind", ["int8", "ternary"])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_constant_keeps_the_contract(kind: Any, seed: int) -> None:
    check_contract(small(kind, seed=seed, moe_layers=(0, 1)).quantized)


def spoil(net: Small) -> None:
    """Biases out of all proportion, channels of zeros, LayerNorm with negative and huge gains."""
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in net.model.named_parameters():
            flat = value.view(-1)
            if name.endswith("bias"):
                flat[::3] = torch.randn(flat[::3].shape, generator=rng) * 1e3
            elif "norm" in name:
                flat[0], flat[1] = -50.0, 1e-4
            elif value.ndim >= 2:
                value[..., 0, :] = 0
                value[..., -1, :] *= 1e-6


@pytest.mark.parametrize("kind", ["int8", "ternary"])
def test_adversarial_weights_keep_the_contract(kind: Any) -> None:
    net = small(kind, count=8)
    spoil(net)
    check_contract(net.quantized)
    run_reference(net.quantized, net.patches)


SHAPE = st.tuples(st.integers(1, 5), st.sampled_from([1, 7, 300, 4096]))


@given(SHAPE, st.integers(0, 2**32 - 1), st.floats(-9, 6), st.floats(-6, 1), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_accumulator_bound_holds_whatever_the_bias(
    shape: tuple[int, int], seed: int, bias_size: float, scale: float, ternary: bool
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.choice([-1.0, 1.0], shape) if seed % 2 else rng.normal(0, 1, shape)
    weight *= 10.0 ** rng.uniform(-6, 2, (shape[0], 1))
    bias = rng.normal(0, 10.0**bias_size, shape[0])
    whole, whole_bias, step = quantize_weights(weight, bias, 10.0**scale, ternary)
    assert max(bounds(whole, whole_bias)) < 2**26
    # Nothing is lost but half a step: of the bias always, of the weights at 8 bits.
    unit = 10.0**scale * step
    assert (np.abs(whole_bias * unit - bias) <= unit * 0.5 + 1e-9 * np.abs(bias)).all()
    if not ternary:
        assert (np.abs(whole * step[:, None] - weight) <= step[:, None] * 0.5 * (1 + 1e-9)).all()


def test_int8_scales_use_the_whole_range() -> None:
    weight = np.array([[0.5, -1.0], [0.0, 0.0], [3.0, 3.0]])
    whole, bias, scale = quantize_weights(weight, np.array([0.1, 0.2, 0.0]), 0.01, False)
    assert whole.tolist() == [[64, -127], [0, 0], [127, 127]]
    assert scale[[0, 2]].tolist() == [1 / 127, 3 / 127]
    assert bias.tolist() == [round(0.1 / (0.01 / 127)), 2**15, 0]


def test_a_channel_of_zeros_gives_its_bias() -> None:
    weight, bias = np.zeros((1, 4)), np.array([0.37])
    for ternary in (False, True):
        whole, whole_bias, scale = quantize_weights(weight, bias, 0.02, ternary)
        assert not whole.any()
        assert whole_bias[0] * 0.02 * scale[0] == pytest.approx(0.37, rel=2**-15)


def test_ternary_codes() -> None:
    weight = np.array([[1.0, -0.9, 0.1, -0.1]])  # threshold 0.7 * 0.525
    whole, _, scale = quantize_weights(weight, np.zeros(1), 0.1, True)
    assert whole.tolist() == [[1, -1, 0, 0]]
    assert scale.tolist() == pytest.approx([0.95])


def test_only_routed_experts_are_ternary() -> None:
    model = small("ternary").quantized
    ternary = {n for n, p in model.ops.items() if isinstance(p, LinearParams) and p.ternary}
    assert ternary == {n for n in model.ops if ".experts." in n}
    assert len(ternary) == 2 * 5
    assert not any(getattr(p, "ternary", False) for p in small("int8").quantized.ops.values())


def test_experts_of_a_layer_share_their_gelu() -> None:
    model = small().quantized
    tables = [model.linear(f"blocks.1.moe.experts.{e}.fc1").table for e in range(5)]
    assert all(np.array_equal(table, tables[0]) for table in tables)


def test_the_float_model_is_left_as_it_was() -> None:
    net = small("ternary")
    before = {k: v.clone() for k, v in net.model.state_dict().items()}

    def marker(weight: torch.Tensor) -> torch.Tensor:
        return weight

    net.model.expert_transform = marker
    assert net.quantized.experts == "ternary"
    assert net.model.expert_transform is marker
    assert all(torch.equal(v, before[k]) for k, v in net.model.state_dict().items())


def test_a_tiny_mean_of_large_values_does_not_break_the_attention_scale() -> None:
    """v cancels over the tokens: the result is far smaller than v, beyond C / 2^f < 2^8."""
    net = small(moe_layers=(), depth=1, image=(4, 4))
    with torch.no_grad():
        dim = net.config.dim
        block = net.model.blocks[0]
        block.qkv.weight[: 2 * dim] = 0  # uniform attention over two tokens
        block.qkv.bias[:] = 0
        block.norm1.bias[:] = 0
        # Two tokens that normalize to opposite rows.
        net.model.patch_embed.weight[:] = 0
        net.model.patch_embed.bias[:] = 0
        net.model.pos_embed[0] = torch.linspace(-1, 1, dim)
        net.model.pos_embed[1] = -torch.linspace(-1, 1, dim) + 1e-4 * torch.sin(torch.arange(dim))
        net.model.cls_token[:] = 0
    check_contract(net.quantized)
    p = net.quantized.attention("blocks.0.attn")
    ratio = calibrate(net.model, net.images).limit("blocks.0.v") / 127
    scale = net.quantized.scales["blocks.0.attn"]
    assert p.out_mult / 2**p.out_shift == pytest.approx(ratio / scale, rel=2**-15)


# ---- ranges -------------------------------------------------------------------------------------


def test_percentiles() -> None:
    values = np.array([-3.0, *np.linspace(0, 1, 999)], np.float32)
    whole, most = Ranges(100.0), Ranges(99.0)
    for ranges in (whole, most):
        ranges.see("site", values)
        ranges.see("site", values[1:] / 2)
        ranges.see("site", values[:0])
        ranges.see("zero", np.zeros(3, np.float32))
    assert whole.limit("site") == 3.0
    assert most.limit("site") == pytest.approx(0.99, abs=0.01)
    assert whole.limit("zero") == 1.0


def test_a_percentile_clips_more() -> None:
    net = small(count=16)
    tight = quantize(net.model, net.images, "int8", percentile=90.0)
    assert tight.calibration == "percentile 90 over 16 images"
    assert net.quantized.calibration == "min-max over 16 images"
    clipped = [
        run_reference(model, model.quantize_images(net.images)).saturations.total
        for model in (net.quantized, tight)
    ]
    assert clipped[1] > 10 * max(clipped[0], 1)


def test_calibration_images_clip_almost_nothing() -> None:
    net = small(count=16)
    counts = run_reference(net.quantized, net.patches).saturations
    assert counts.total <= 0.001 * 16 * net.config.tokens * 300


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((0, 2, 8, 12), np.float32), "N at least 1"),
        (np.zeros((1, 2, 12, 8), np.float32), r"needs \[N, 2, 8, 12\]"),
        (np.zeros((2, 8, 12), np.float32), "shape"),
        (np.full((1, 2, 8, 12), np.nan, np.float32), "NaN"),
    ],
)
def test_unusable_images(images: npt.NDArray[np.float32], message: str) -> None:
    with pytest.raises(HwmoeError, match=message):
        quantize(small().model, images)


def test_pixels_are_rounded_half_up_and_cut_into_patches() -> None:
    net = small(pixel_mean=(0.5, 0.25), pixel_std=(0.5, 2.0))
    scale = float(np.asarray(net.quantized.scales["input"]))
    got = net.quantized.quantize_images(net.images)
    assert got.shape == (4, 6, 32)
    for channel, mean, std in ((0, 0.5, 0.5), (1, 0.25, 2.0)):
        pixel = float(net.images[2, channel, 5, 9])  # patch row 1, column 2; inside (1, 1)
        want = np.floor((pixel - mean) / std / scale + 0.5)
        assert abs(int(got[2, 5, channel * 16 + 5]) - want) <= 1e-6
    far = net.quantized.quantize_images(net.images * 1e6)
    assert (far.max(), far.min()) == (127, -128) or far.max() == 127


def test_progress_reaches_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    net = small(count=20)
    monkeypatch.setattr("hwmoe.quant.calibrate.batch_size", lambda config: 16)
    quantize(net.model, net.images, progress=lambda what, done, total: seen.append((done, total)))
    assert seen == [(i, 4) for i in (1, 2, 3, 4)]


def test_digits_int8_keeps_the_contract() -> None:
    model = load_model("digits").eval()
    images = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    check_contract(quantize(model, images))


def test_constants_of_attention_gate_and_norm_stand_for_their_floats() -> None:
    net = small(norm_eps=1e-2)
    model, dim = net.quantized, net.config.dim
    ranges = calibrate(net.model, net.images)
    residual = float(np.asarray(model.scales["embed"]))
    p = model.norm("blocks.0.norm1")
    assert p.eps == round(dim**2 * 1e-2 / residual**2)
    step = ranges.limit("blocks.0.norm1") / 127
    gamma = net.model.blocks[0].norm1.weight.detach().numpy()
    assert p.gain / 2.0 ** (p.shift - 10) * step == pytest.approx(gamma, rel=1e-3)
    a = model.attention("blocks.0.attn")
    q, k = (ranges.limit(f"blocks.0.{part}") / 127 for part in "qk")
    want = q * k / (dim // 3) ** 0.5 * 46
    assert a.score_mult / 2**a.score_shift == pytest.approx(want, rel=1e-3)
    for task in (0, 1):
        gate = model.gate(f"blocks.1.moe.softmax.{task}")
        scale = float(np.asarray(model.scales[f"blocks.1.moe.gate.{task}"]))
        assert gate.score_mult / 2**gate.score_shift == pytest.approx(scale * 32, rel=1e-3)
        assert gate.top_k == 2
