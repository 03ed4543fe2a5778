"""The trainer: a stopped run is the run that never stopped, and the quantizer agrees with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import small

from hwmoe.errors import HwmoeError
from hwmoe.model.vit import MoEViT
from hwmoe.quant.quantize import quantize
from hwmoe.quant.ternary import fake_ternary, ternarize
from hwmoe.train.data import ArrayPixels, Labelled, held_out
from hwmoe.train.forms import top1
from hwmoe.train.settings import TrainSettings
from hwmoe.train.trainer import Keep, Trained, train

IMAGES = 24


@pytest.fixture(scope="module")
def model() -> MoEViT:
    return small(count=1).model


@pytest.fixture(scope="module")
def data() -> Labelled:
    """Images whose mean brightness says their class: something there is to learn."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, IMAGES)
    noise = random.random((IMAGES, 2, 8, 12), np.float32) * 0.2
    pixels = (noise + (labels * 0.3).astype(np.float32)[:, None, None, None]).astype(np.float32)
    return Labelled(ArrayPixels(pixels), {"a": labels, "b": labels}, "made up")


def settings(**changes: Any) -> TrainSettings:
    fields = {"epochs": 2, "batch": 8, "distill": 0.5, "features": 0.1, "augment": "flip"}
    return TrainSettings.parse({**fields, "ema": 0.9, **changes})


def same(left: Trained, right: Trained) -> bool:
    pairs = zip(left.model.parameters(), right.model.parameters(), strict=True)
    return left.history == right.history and all(torch.equal(a, b) for a, b in pairs)


class Stop(Exception):
    """What a user's Ctrl-C is to the test."""


@pytest.mark.parametrize("stops", [[1], [2, 5]])
def test_stopped_and_resumed_is_never_stopped(
    model: MoEViT, data: Labelled, tmp_path: Path, stops: list[int]
) -> None:
    whole = train(model, data, data, settings(), model)
    path = tmp_path / "run.state"
    for index, at in enumerate(stops):

        def stop(what: str, done: int, total: int, at: int = at) -> None:
            if done > at:  # the state of step `at` has been written, this step is lost
                raise Stop

        with pytest.raises(Stop):
            train(model, data, data, settings(), model, Keep(path, index > 0, 0.0), stop)
    resumed = train(model, data, data, settings(), model, Keep(path, True, 0.0))
    assert same(whole, resumed)
    assert len(resumed.history) == 2


def test_same_seed_same_run_and_another_seed_another(model: MoEViT, data: Labelled) -> None:
    first = train(model, data, data, settings(epochs=1), model)
    assert same(first, train(model, data, data, settings(epochs=1), model))
    assert not same(first, train(model, data, data, settings(epochs=1, seed=2), model))


def test_a_state_of_another_run_is_refused(model: MoEViT, data: Labelled, tmp_path: Path) -> None:
    path = tmp_path / "run.state"
    train(model, data, data, settings(epochs=1), model, Keep(path))
    with pytest.raises(HwmoeError, match=r"(?s)another run.*rate: was 0.002, is 0.1"):
        train(model, data, data, settings(epochs=1, rate=0.1), model, Keep(path, True))
    other = Labelled(data.pixels, {**data.labels, "a": data.labels["a"][::-1].copy()}, "x")
    with pytest.raises(HwmoeError, match=r"(?s)another run.*data: was"):
        train(model, other, data, settings(epochs=1), model, Keep(path, True))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(HwmoeError, match="damaged"):
        train(model, data, data, settings(epochs=1), model, Keep(path, True))
    with pytest.raises(HwmoeError, match="no run to resume"):
        train(model, data, data, settings(), model, Keep(tmp_path / "none", True))


def test_a_state_that_holds_code_is_not_run(model: MoEViT, data: Labelled, tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"format": 1, "run": Bad()}, tmp_path / "bad")
    with pytest.raises(HwmoeError, match="damaged"):
        train(model, data, data, settings(), model, Keep(tmp_path / "bad", True))
    assert not (tmp_path / "ran").exists()


def test_training_learns(model: MoEViT, data: Labelled) -> None:
    trained = train(model, data, data, settings(epochs=10, distill=0, features=0, rate=5e-3))
    before, after = top1(model, data, fake_ternary), top1(trained.model, data, fake_ternary)
    assert trained.history[-1]["loss"] < 0.8 * trained.history[0]["loss"]
    assert after["a"] > max(0.6, before["a"])
    assert trained.history[-1]["ternary"] == after


def test_the_quantizer_gives_the_ternary_weights_the_forward_pass_used(
    model: MoEViT, data: Labelled
) -> None:
    trained = train(model, data, data, settings(epochs=1), model).model
    quantized = quantize(trained, data.batch(torch.arange(IMAGES)).numpy(), "ternary")
    weights = trained.state_dict()
    for expert in range(trained.config.experts):
        for fc in ("fc1", "fc2"):
            own = weights[f"blocks.1.moe.{fc}.weight"]
            codes, scale = ternarize(own)
            params = quantized.linear(f"blocks.1.moe.experts.{expert}.{fc}")
            assert params.ternary
            assert np.array_equal(params.weight, codes[expert].numpy())
            # What the forward pass multiplies by is exactly code times scale.
            used = fake_ternary(own)[expert]
            assert torch.equal(used, codes[expert].float() * scale[expert, :, None])
            # The machine's multiplier is the scale to 17 bits, of the scales before and after.
            ratios = params.multiplier / scale[expert].numpy()
            assert np.allclose(ratios, ratios.mean(), rtol=2e-3)


def test_only_experts_leaves_the_rest_as_it_was(model: MoEViT, data: Labelled) -> None:
    trained = train(model, data, data, settings(epochs=1, only_experts=True), model).model
    before = model.state_dict()
    for name, value in trained.state_dict().items():
        moved = ".moe." in name and ".shared." not in name
        assert torch.equal(value, before[name]) != moved, name


def test_what_does_not_fit_is_said(model: MoEViT, data: Labelled) -> None:
    wrong = Labelled(data.pixels, {"a": data.labels["a"] + 7}, "mine")
    with pytest.raises(HwmoeError, match=r"(?s)a: labels from 7 to 9.*no labels for task 'b'"):
        train(model, wrong, data, settings(), model)
    with pytest.raises(HwmoeError, match="needs a teacher"):
        train(model, data, data, settings())
    other = small(count=1, image=(8, 8)).model
    with pytest.raises(HwmoeError, match="differs from 'small' in image"):
        train(model, data, data, settings(), other)
    with pytest.raises(HwmoeError, match=r"(?s)rate.*ema"):
        settings(rate=-1, ema=2)


def test_held_out_images_are_not_trained_on(data: Labelled) -> None:
    train_part, test_part = held_out(data, 0.25, seed=3)
    assert (len(train_part), len(test_part)) == (18, 6)
    left = {row.tobytes() for row in train_part.batch(torch.arange(18)).numpy()}
    right = {row.tobytes() for row in test_part.batch(torch.arange(6)).numpy()}
    assert len(left | right) == IMAGES
    for part in (train_part, test_part):
        means = part.batch(torch.arange(len(part))).mean((1, 2, 3)).numpy()
        assert np.array_equal(np.round((means - 0.1) / 0.3), part.labels["a"])
    with pytest.raises(HwmoeError, match="too few"):
        held_out(data, 0.001, seed=3)
