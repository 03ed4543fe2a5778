"""Ranges by error instead of by the largest value, and channels made alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import BASE, Small, small

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.realistic import heavy_tailed_model, smooth_images
from hwmoe.model.zoo import zoo_config
from hwmoe.quant.calibrate import calibrate, narrow
from hwmoe.quant.compare import evaluate
from hwmoe.quant.equalize import best_factors, equalize
from hwmoe.quant.quantize import quantize
from hwmoe.quant.quantized import Experts, QuantizedModel
from hwmoe.quant.ranges import Calibration
from hwmoe.quant.reference import run_reference
from hwmoe.quant.sensitivity import sensitivities, stored_weight
from hwmoe.quant.statistics import Histogram
from hwmoe.quant.weight_scale import best_weight_scale


def unkind(**changes: Any) -> Small:
    """A small model with outlier channels, and smooth images."""
    sizes: dict[str, Any] = {"dim": 48, "expert_hidden": 24, "dense_hidden": 64}
    config = ModelConfig.parse(BASE | sizes | changes, "test")
    return Small(heavy_tailed_model(config), smooth_images(config, 12), "int8")


def sqnr(net: Small, quantized: QuantizedModel) -> tuple[float, float]:
    """Mean over the layers, and that of the logits."""
    layers = evaluate(net.model, quantized, net.images, None, 0).layers
    return float(np.mean([layer.sqnr_db for layer in layers])), layers[-1].sqnr_db


def test_a_histogram_grows_without_losing_counts() -> None:
    random = np.random.default_rng(0)
    parts = [random.normal(0, size, 1000).astype(np.float32) for size in (0.01, 1, 100)]
    grown, whole = Histogram(), Histogram()
    for part in parts:
        grown.see(part)
    whole.see(np.concatenate(parts))
    assert grown.top == whole.top
    assert np.array_equal(grown.counts, whole.counts)
    values = np.concatenate(parts).astype(np.float64)
    step = 50 / 127
    exact = ((values - np.clip(np.round(values / step), -127, 127) * step) ** 2).sum()
    assert whole.noise(50.0) == pytest.approx(exact, rel=0.02)


def test_zeros_have_no_sqnr() -> None:
    histogram = Histogram()
    histogram.see(np.zeros(5, np.float32))
    assert histogram.sqnr_db(1.0) is None


def test_the_scale_of_a_weight_is_clipped_where_that_pays() -> None:
    random = np.random.default_rng(0)
    weight, power = random.normal(size=(4, 400)), random.random(400)
    weight[1, 7], power[7] = 20.0, 0.0  # large, but its input is always zero
    largest = np.abs(weight).max(axis=1) / 127
    scale = best_weight_scale(weight, power)

    def error(by: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        whole = np.clip(np.round(weight / by[:, None]), -127, 127)
        result: np.ndarray[Any, Any] = ((weight - whole * by[:, None]) ** 2) @ power
        return result

    assert (scale <= largest).all()
    assert (error(scale) <= error(largest)).all()
    assert error(scale)[1] < 0.3 * error(largest)[1]
    assert best_weight_scale(np.zeros((2, 3)), None).tolist() == [0, 0]


def test_factors_follow_the_channels() -> None:
    spread = np.array([1.0, 1.0, 20.0, 1.0])
    factors = best_factors(spread, spread**2 / 9, np.random.default_rng(0).normal(size=(64, 4)))
    assert factors[2] > 3 * factors[[0, 1, 3]].max()


@pytest.mark.parametrize("keep", [False, True])
def test_an_equalized_model_computes_the_same(keep: bool) -> None:
    net = unkind()
    seen = calibrate(net.model, net.images, by_channel=True).channels
    equal = equalize(net.model, seen, keep)
    with torch.no_grad():
        for task in (0, 1):
            exact = net.model(torch.from_numpy(net.images), task)
            found = equal.model(torch.from_numpy(net.images), task)
            torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-3)
    assert ("blocks.1.norm2" in equal.folded) is not keep
    moe = "blocks.1.norm2"
    assert keep or not equal.folded[moe][1].any()  # a gate has no bias that could take an offset


@pytest.mark.parametrize("method", ["mse", "reconstruct"])
def test_outliers_cost_3_db_less(method: Calibration) -> None:
    net = unkind()
    plain = sqnr(net, net.quantized)
    found = sqnr(net, quantize(net.model, net.images, calibration=method))
    assert found[0] >= plain[0] + 3
    assert found[1] >= plain[1] + 3


@pytest.mark.slow  # 3 minutes of CPU
def test_outliers_of_deit_tiny_cost_3_db_less() -> None:
    config = zoo_config("deit-tiny")
    images = smooth_images(config, 20)
    net = Small(heavy_tailed_model(config), images[16:], "int8")
    plain, *found = (
        sqnr(net, quantize(net.model, images[:16], calibration=method))
        for method in ("minmax", "mse", "reconstruct")
    )
    for better in found:
        assert better[0] >= plain[0] + 3
        assert better[1] >= plain[1] + 3


@pytest.mark.parametrize("experts", ["int8", "ternary"])
def test_every_range_has_a_reason_and_the_file_keeps_it(experts: Experts, tmp_path: Path) -> None:
    net = unkind()
    before = {name: value.clone() for name, value in net.model.state_dict().items()}
    first, again = (
        quantize(net.model, net.images, experts, calibration="reconstruct") for _ in range(2)
    )
    assert all(torch.equal(value, before[n]) for n, value in net.model.state_dict().items())
    assert first.choices == again.choices
    rows = {row.site: row for row in first.choices}
    assert all(narrow(site) for site in rows)
    assert {"input", "norm", "blocks.0.q", "blocks.1.moe.gelu"} <= rows.keys()
    assert all(row.reason and 0 < row.limit <= row.largest for row in first.choices)
    first.save(tmp_path / "q.safetensors")
    loaded = QuantizedModel.load(tmp_path / "q.safetensors")
    assert loaded.choices == first.choices
    assert loaded.folded.keys() == first.folded.keys()
    assert all(np.array_equal(loaded.folded[name], value) for name, value in first.folded.items())
    patches = first.quantize_images(net.images)
    ours = run_reference(first, patches).logits
    assert np.array_equal(run_reference(loaded, patches).logits, ours)
    assert np.array_equal(run_reference(again, patches).logits, ours)


def test_a_percentile_for_another_method_is_refused() -> None:
    net = small()
    with pytest.raises(HwmoeError, match="percentile has no meaning for 'mse'"):
        quantize(net.model, net.images, percentile=99.0, calibration="mse")


# ---- sensitivity --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_stored_weights_stand_for_the_floats(method: Calibration) -> None:
    net = unkind()
    quantized = quantize(net.model, net.images, calibration=method)
    for fc in ("fc1", "fc2"):
        exact = getattr(net.model.blocks[1].moe, fc).weight[2].detach().numpy()
        found = stored_weight(quantized, "blocks.1", 2, fc)
        assert np.linalg.norm(found - exact) < 0.05 * np.linalg.norm(exact)


def test_sensitivity_by_expert() -> None:
    net = unkind(moe_layers=(0,))
    with torch.no_grad():
        # Equal logits are won by the lower experts: of these three, the last is never chosen.
        gate = net.model.blocks[0].moe.gate
        gate[0, [1, 3]] = gate[0, 0].clone()
    before = {name: value.clone() for name, value in net.model.state_dict().items()}
    int8, ternary = (
        sensitivities(net.model, quantize(net.model, net.images, kind), net.images)
        for kind in ("int8", "ternary")
    )
    assert all(torch.equal(value, before[n]) for n, value in net.model.state_dict().items())
    assert [(row.task, row.expert) for row in int8] == [(t, e) for t in "ab" for e in range(5)]
    for row, coarse in zip(int8, ternary, strict=True):
        assert replace(row, change=0, agreement=0) == replace(coarse, change=0, agreement=0)
        if row.tokens:
            assert 0 < row.change < coarse.change
        else:
            assert (row.change, row.agreement) == (0, 1)
    assert [row.expert for row in int8 if not row.tokens] == [3]
