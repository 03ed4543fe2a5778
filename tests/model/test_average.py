"""Averaging experts: exact where they are equal, and its cost where they are not."""

from __future__ import annotations

import pytest
import torch
from small_models import small

from hwmoe.errors import HwmoeError
from hwmoe.flow.imports import import_model
from hwmoe.model.average import average_experts
from hwmoe.model.loaders.options import NOTHING_SAID
from hwmoe.model.zoo import load_model


@pytest.mark.parametrize("shared", [0, 6])
@pytest.mark.parametrize("layers", [(1,), (0, 1)])
def test_equal_experts_average_to_the_same_function(layers: tuple[int, ...], shared: int) -> None:
    """Widths differ between the layers, so that padding takes part."""
    example = small(moe_layers=layers, shared_hidden=shared)
    with torch.no_grad():
        for layer in layers:
            moe = example.model.get_submodule(f"blocks.{layer}.moe")
            for linear in (moe.fc1, moe.fc2):
                linear.weight[:] = linear.weight[:1].clone()
                linear.bias[:] = linear.bias[:1].clone()
    dense = average_experts(example.model)
    assert dense.config.moe_layers == ()
    images = torch.from_numpy(example.images)
    for task in (0, 1):
        with torch.no_grad():
            expected, found = example.model(images, task), dense(images, task)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_mean_is_the_mean() -> None:
    example = small(shared_hidden=0, expert_hidden=20)
    dense = average_experts(example.model)
    moe = example.model.get_submodule("blocks.1.moe")
    weight = dense.state_dict()["blocks.1.mlp.fc1.weight"]
    torch.testing.assert_close(weight, sum(moe.fc1.weight[e] for e in range(5)) / 5)


def test_a_dense_model_is_refused() -> None:
    with pytest.raises(HwmoeError, match="has no experts to average"):
        average_experts(load_model("deit-tiny"))


def test_scores_that_do_not_add_up_to_one_are_refused() -> None:
    with pytest.raises(HwmoeError, match="add up to less than 1"):
        average_experts(small(gate_scores="all").model)


def test_the_cost_on_digits_is_shown() -> None:
    """Not none, and not all: 2 of 4 layers are MoE, beside a shared expert."""
    result = import_model("digits", None, NOTHING_SAID, True, None)["averaged"]
    before, after = result["parameters"]
    assert after < 0.6 * before
    for row in result["tasks"]:
        assert row["images"] == 360
        assert row["moe_top1"] > 99
        assert 95 < row["averaged_top1"] < row["moe_top1"]
