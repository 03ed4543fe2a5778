"""Dense to experts: the function at the start, the shapes, and what is refused; the losses."""

from __future__ import annotations

import pytest
import torch
from small_models import small
from torch.nn import functional as F

from hwmoe.errors import HwmoeError
from hwmoe.model.vit import MoEViT
from hwmoe.train.losses import Balance, Features, distillation, feature_distance
from hwmoe.train.upcycle import upcycle


@pytest.fixture(scope="module")
def dense() -> MoEViT:
    return small(count=1, moe_layers=(), shared_hidden=0, depth=3).model


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 2, 8, 12, generator=torch.Generator().manual_seed(4))


def test_at_scale_0_it_is_the_dense_model(dense: MoEViT, images: torch.Tensor) -> None:
    grown = upcycle(dense, 4, top_k=2, layers=[0, 2], hidden=9, scale=0.0)
    assert grown.config.moe_layers == (0, 2)
    assert (grown.config.experts, grown.config.expert_hidden) == (4, 9)
    assert grown.config.shared_hidden == dense.config.dense_hidden
    for task in (0, 1):
        assert torch.equal(grown(images, task), dense(images, task))


def test_with_all_channels_the_experts_add_the_scaled_block(
    dense: MoEViT, images: torch.Tensor
) -> None:
    """Scores add to 1, so identical experts give scale times the block's own output."""
    grown = upcycle(dense, 4, top_k=2, layers=[1], scale=0.25)
    ours: dict[str, torch.Tensor] = {}
    theirs: dict[str, torch.Tensor] = {}
    grown(images, 1, ours)
    dense(images, 1, theirs)
    block = theirs["blocks.1.mlp.fc2"]
    added = ours["blocks.1.res2"] - theirs["blocks.1.res2"]
    assert torch.allclose(added, 0.25 * block, atol=1e-5)


def test_experts_of_fewer_channels_differ_and_are_right_on_average(dense: MoEViT) -> None:
    grown = upcycle(dense, 64, layers=[1], hidden=10, scale=1.0, seed=5).state_dict()
    first = grown["blocks.1.moe.fc1.weight"]
    assert first.shape == (64, 10, 12)
    assert len({expert.numpy().tobytes() for expert in first}) > 60
    x = torch.randn(50, 12, generator=torch.Generator().manual_seed(6))
    state = dense.state_dict()

    def block(w1: torch.Tensor, b1: torch.Tensor, w2: torch.Tensor) -> torch.Tensor:
        return F.linear(F.gelu(F.linear(x, w1, b1)), w2)

    place = "blocks.1.mlp"
    whole = block(*(state[f"{place}.{k}"] for k in ("fc1.weight", "fc1.bias", "fc2.weight")))
    stacked = [grown[f"blocks.1.moe.{k}"] for k in ("fc1.weight", "fc1.bias", "fc2.weight")]
    mean = torch.stack([block(*(s[e] for s in stacked)) for e in range(64)]).mean(0)
    assert (mean - whole).norm() < 0.35 * whole.norm()


def test_what_cannot_be_upcycled(dense: MoEViT) -> None:
    with pytest.raises(HwmoeError, match=r"(?s)\[3\] do not exist.*21 hidden.*scale 2"):
        upcycle(dense, 4, layers=[3], hidden=21, scale=2)
    with pytest.raises(HwmoeError, match="have experts already"):
        upcycle(small(count=1).model, 4)
    with pytest.raises(HwmoeError, match="top_k=5 is more than experts=4"):
        upcycle(dense, 4, top_k=5)


def test_balance_is_1_for_an_even_load_and_experts_over_k_for_the_worst() -> None:
    model = small(count=1).model
    images = torch.rand(2, 2, 8, 12, generator=torch.Generator().manual_seed(7))
    moe = model.get_submodule("blocks.1.moe")
    with torch.no_grad(), Balance(model) as balance:
        moe.gate.zero_()
        model(images)
        # Ties go to the lowest numbers: choices are as uneven as can be, the softmax is even.
        assert balance.take() == pytest.approx(1.0, abs=1e-5)
        norm = model.get_submodule("blocks.1.norm2")
        norm.weight.zero_()
        norm.bias.fill_(1.0)
        moe.gate[0, :2] = 10.0
        model(images)
        assert balance.take() == pytest.approx(5 / 2, rel=1e-3)
        assert balance.take() == 0
    model(images)
    assert not balance.losses  # the hooks are gone


def test_distillation_is_the_divergence_of_kullback_and_leibler() -> None:
    random = torch.Generator().manual_seed(8)
    ours, theirs = torch.randn(2, 5, 4, generator=random).double()
    p, q = (theirs / 3).softmax(-1), (ours / 3).softmax(-1)
    want = 9 * (p * (p / q).log()).sum(-1).mean()
    assert distillation(ours, theirs, 3.0) == pytest.approx(want.item())
    assert distillation(ours, ours, 3.0) == pytest.approx(0.0, abs=1e-12)


def test_features_are_the_residual_stream(dense: MoEViT, images: torch.Tensor) -> None:
    trace: dict[str, torch.Tensor] = {}
    with Features(dense) as features:
        dense(images, 0, trace)
        blocks = features.take()
    assert all(torch.equal(b, trace[f"blocks.{i}.res2"]) for i, b in enumerate(blocks))
    assert len(blocks) == 3
    assert blocks[0].requires_grad
    assert feature_distance(blocks, blocks) == 0
    shifted = [block + block.std() for block in blocks]
    assert feature_distance(shifted, blocks).item() == pytest.approx(1.0, rel=1e-4)
