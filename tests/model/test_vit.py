"""The floating-point model against naive code, and its trace."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.vit import MoE, MoEViT
from hwmoe.model.zoo import seeded_model
from hwmoe.quant.ternary import fake_ternary

torch.set_num_threads(1)


def config(**changes: Any) -> ModelConfig:
    base: dict[str, Any] = {
        "name": "small",
        "image": (8, 12),
        "patch": (4, 2),
        "channels": 2,
        "dim": 12,
        "heads": 3,
        "depth": 2,
        "dense_hidden": 20,
        "moe_layers": (1,),
        "experts": 5,
        "top_k": 2,
        "expert_hidden": 7,
        "tasks": [{"name": "a", "classes": 4}],
    }
    return ModelConfig.parse(base | changes, "test")


def images(c: ModelConfig, count: int = 3) -> Tensor:
    return torch.rand(count, c.channels, *c.image, generator=torch.Generator().manual_seed(7))


def run(model: MoEViT, task: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    trace: dict[str, Tensor] = {}
    with torch.no_grad():
        return model(images(model.config), task, trace), trace


ODD = {
    "one expert": {"experts": 1, "top_k": 1},
    "all experts": {"experts": 4, "top_k": 4},
    "dense": {"moe_layers": ()},
    "all moe, shared": {"moe_layers": (0, 1), "shared_hidden": 5},
    "three tasks": {
        "tasks": [{"name": n, "classes": k} for n, k in (("a", 2), ("b", 9), ("c", 1))]
    },
    "one token per row": {"image": (4, 12), "patch": (4, 2), "heads": 1},
    "one patch": {"image": (4, 2)},
    "pixels": {"pixel_mean": (0.4, 0.5), "pixel_std": (0.2, 0.3)},
}


@pytest.mark.parametrize("changes", ODD.values(), ids=ODD)
def test_shapes_of_odd_configurations(changes: dict[str, Any]) -> None:
    c = config(**changes)
    model = seeded_model(c)
    for task, info in enumerate(c.tasks):
        logits, trace = run(model, task)
        assert logits.shape == (3, info.classes)
        assert torch.isfinite(logits).all()
        assert trace["embed"].shape == (3, c.tokens, c.dim)


def test_state_dict_keys_and_shapes() -> None:
    c = config(shared_hidden=6, tasks=[{"name": "a", "classes": 4}, {"name": "b", "classes": 2}])
    found = {k: tuple(v.shape) for k, v in MoEViT(c).state_dict().items()}
    block: dict[str, tuple[int, ...]] = {
        "norm1.weight": (12,),
        "norm1.bias": (12,),
        "norm2.weight": (12,),
        "norm2.bias": (12,),
    }
    block |= {"qkv.weight": (36, 12), "qkv.bias": (36,), "proj.weight": (12, 12)}
    block |= {"proj.bias": (12,)}
    dense: dict[str, tuple[int, ...]] = {
        "mlp.fc1.weight": (20, 12),
        "mlp.fc1.bias": (20,),
        "mlp.fc2.weight": (12, 20),
    }
    dense |= {"mlp.fc2.bias": (12,)}
    moe: dict[str, tuple[int, ...]] = {
        "moe.fc1.weight": (5, 7, 12),
        "moe.fc1.bias": (5, 7),
        "moe.fc2.weight": (5, 12, 7),
    }
    moe |= {"moe.fc2.bias": (5, 12), "moe.gate": (2, 5, 12), "moe.shared.fc1.weight": (6, 12)}
    moe |= {"moe.shared.fc1.bias": (6,), "moe.shared.fc2.weight": (12, 6)}
    moe |= {"moe.shared.fc2.bias": (12,)}
    want: dict[str, tuple[int, ...]] = {"patch_embed.weight": (12, 16), "patch_embed.bias": (12,)}
    want |= {"cls_token": (12,), "pos_embed": (13, 12), "norm.weight": (12,), "norm.bias": (12,)}
    want |= {"heads.0.weight": (4, 12), "heads.0.bias": (4,)}
    want |= {"heads.1.weight": (2, 12), "heads.1.bias": (2,)}
    want |= {f"blocks.0.{k}": v for k, v in (block | dense).items()}
    want |= {f"blocks.1.{k}": v for k, v in (block | moe).items()}
    assert found == want


def test_patches_are_channel_y_x_row_by_row() -> None:
    c = config(pixel_mean=(0.4, 0.5), pixel_std=(0.2, 0.3))
    x = images(c, 1)
    patches = MoEViT(c).patches(x)[0]
    for p in range(c.patches):
        top, left = p // 6 * 4, p % 6 * 2
        want = [
            (x[0, ch, top + y, left + z].item() - (0.4, 0.5)[ch]) / (0.2, 0.3)[ch]
            for ch in range(2)
            for y in range(4)
            for z in range(2)
        ]
        assert torch.allclose(patches[p], torch.tensor(want), atol=1e-6)


def test_attention_equals_naive_heads() -> None:
    model = seeded_model(config())
    _, trace = run(model)
    qkv, dim, size = trace["blocks.0.qkv"][1], 12, 4
    for head in range(3):
        q, k, v = (qkv[:, i * dim + head * size :][:, :size] for i in range(3))
        probs = torch.softmax(q @ k.T / math.sqrt(size), -1)
        assert torch.allclose(trace["blocks.0.probs"][1, head], probs, atol=1e-6)
        part = trace["blocks.0.attn"][1, :, head * size : (head + 1) * size]
        assert torch.allclose(part, probs @ v, atol=1e-6)


def naive_moe(
    state: dict[str, Tensor], x: Tensor, task: int, top_k: int, gate_scores: str
) -> Tensor:
    """The layer for one token [D], with plain loops."""
    logits = (state["gate"][task] @ x).tolist()
    order = sorted(range(len(logits)), key=lambda e: (-logits[e], e))[:top_k]
    over = order if gate_scores == "topk" else range(len(logits))
    total = sum(math.exp(logits[e]) for e in over)
    scores = torch.tensor([math.exp(logits[e]) / total for e in order])
    out = torch.zeros_like(x)
    if "shared.fc1.weight" in state:
        hidden = state["shared.fc1.weight"] @ x + state["shared.fc1.bias"]
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        out = state["shared.fc2.weight"] @ hidden + state["shared.fc2.bias"]
    for e, score in zip(order, scores, strict=True):
        hidden = state["fc1.weight"][e] @ x + state["fc1.bias"][e]
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        out = out + score * (state["fc2.weight"][e] @ hidden + state["fc2.bias"][e])
    return out


@pytest.mark.parametrize("shared", [0, 6])
@pytest.mark.parametrize("task", [0, 1])
@pytest.mark.parametrize("top_k", [1, 2, 5])
@pytest.mark.parametrize("gate_scores", ["topk", "all"])
def test_moe_equals_a_loop_over_tokens(
    shared: int, task: int, top_k: int, gate_scores: str
) -> None:
    tasks = [{"name": "a", "classes": 4}, {"name": "b", "classes": 2}]
    changes = {"shared_hidden": shared, "top_k": top_k, "gate_scores": gate_scores}
    model = seeded_model(config(tasks=tasks, **changes), seed=3)
    _, trace = run(model, task)
    prefix = "blocks.1.moe."
    state = {k[len(prefix) :]: v for k, v in model.state_dict().items() if k.startswith(prefix)}
    tokens = trace["blocks.1.norm2"].flatten(0, 1)
    naive = torch.stack([naive_moe(state, x, task, top_k, gate_scores) for x in tokens])
    moved = (trace["blocks.1.res2"] - trace["blocks.1.res1"]).flatten(0, 1)
    assert torch.allclose(moved, naive, atol=1e-5)


def test_ties_go_to_the_lower_index() -> None:
    moe = MoE(config(experts=6, top_k=3))
    logits = torch.tensor([[1.0, 2.0, 2.0, 0.0, 2.0, 2.0], [0.0] * 6, [0.0, -0.0, 1.0, 0, 0, 1.0]])
    topk, scores = moe.route(logits)
    assert topk.tolist() == [[1, 2, 4], [0, 1, 2], [2, 5, 0]]
    assert topk.dtype == torch.int64
    assert torch.allclose(scores[:2], torch.full((2, 3), 1 / 3))
    moe = MoE(config(experts=6, top_k=3, gate_scores="all"))
    topk_of_all, scores = moe.route(logits)
    assert torch.equal(topk_of_all, topk)
    assert torch.allclose(scores[1], torch.full((3,), 1 / 6))
    assert torch.allclose(scores[0], logits[0].softmax(0)[topk[0]])


def test_equal_gate_rows_choose_the_first_experts() -> None:
    model = seeded_model(config())
    with torch.no_grad():
        model.get_parameter("blocks.1.moe.gate").zero_()
    _, trace = run(model)
    assert (trace["blocks.1.moe.topk"] == torch.tensor([0, 1])).all()
    assert trace["blocks.1.moe.experts.4.rows"].numel() == 0
    assert trace["blocks.1.moe.experts.4.fc1"].shape == (0, 7)


def test_trace_keys() -> None:
    _, trace = run(seeded_model(config(shared_hidden=6)))
    names = ["norm1", "qkv", "probs", "attn", "proj", "res1", "norm2", "res2"]
    want = {f"blocks.{i}.{n}" for i in range(2) for n in names} | {"embed", "norm", "head"}
    want |= {f"blocks.0.mlp.{n}" for n in ("fc1", "gelu", "fc2")}
    moe = ["gate", "topk", "scores", "shared.fc1", "shared.gelu", "shared.fc2"]
    moe += [f"experts.{e}.{n}" for e in range(5) for n in ("rows", "fc1", "gelu", "fc2")]
    assert set(trace) == want | {f"blocks.1.moe.{n}" for n in moe}


def test_trace_is_consistent() -> None:
    model = seeded_model(config(shared_hidden=6))
    logits, trace = run(model)
    before = trace["embed"]
    for i in range(2):
        assert torch.equal(trace[f"blocks.{i}.res1"], before + trace[f"blocks.{i}.proj"])
        before = trace[f"blocks.{i}.res2"]
    assert torch.equal(trace["blocks.0.res2"], trace["blocks.0.res1"] + trace["blocks.0.mlp.fc2"])
    assert torch.equal(trace["head"], logits)
    assert torch.equal(trace["norm"], model.norm(before[:, 0]).detach())
    assert torch.allclose(trace["blocks.0.probs"].sum(-1), torch.ones(3, 3, 13))
    assert not any(value.requires_grad for value in trace.values())


def test_rows_are_sorted_and_match_topk() -> None:
    _, trace = run(seeded_model(config()))
    topk = trace["blocks.1.moe.topk"].flatten(0, 1)
    for e in range(5):
        rows = trace[f"blocks.1.moe.experts.{e}.rows"]
        assert rows.dtype == torch.int64
        assert rows.tolist() == [r for r in range(len(topk)) if e in topk[r].tolist()]
        assert len(trace[f"blocks.1.moe.experts.{e}.gelu"]) == len(rows)


def test_a_batch_gives_the_same_as_single_images() -> None:
    model = seeded_model(config(shared_hidden=4))
    x = images(model.config, 4)
    with torch.no_grad():
        single = torch.cat([model(x[i : i + 1]) for i in range(4)])
        assert torch.allclose(model(x), single, atol=1e-5)


def test_tasks_use_their_own_gate_and_head() -> None:
    tasks = [{"name": "a", "classes": 4}, {"name": "b", "classes": 4}]
    model = seeded_model(config(tasks=tasks))
    (_, first), (_, second) = run(model, 0), run(model, 1)
    assert torch.equal(first["blocks.1.norm2"], second["blocks.1.norm2"])
    assert not torch.equal(first["blocks.1.moe.gate"], second["blocks.1.moe.gate"])
    assert not torch.equal(first["head"], second["head"])


def test_expert_transform_reaches_experts_only() -> None:
    model = seeded_model(config(shared_hidden=6))
    seen: list[tuple[int, ...]] = []

    def note(weight: Tensor) -> Tensor:
        seen.append(tuple(weight.shape))
        return fake_ternary(weight)

    plain, before = run(model)
    model.expert_transform = note
    changed, after = run(model)
    assert seen == [(5, 7, 12), (5, 12, 7)]
    assert not torch.equal(plain, changed)
    assert torch.equal(before["blocks.1.moe.shared.fc2"], after["blocks.1.moe.shared.fc2"])


def test_gradients_reach_every_parameter() -> None:
    model = seeded_model(config(shared_hidden=6, top_k=5))
    model.expert_transform = fake_ternary
    torch.autograd.backward(model(images(model.config)).square().sum())
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_wrong_images_and_tasks_are_explained() -> None:
    model = seeded_model(config())
    with pytest.raises(HwmoeError, match=r"takes images \[N, 2, 8, 12\], not \[1, 2, 12, 8\]"):
        model(torch.zeros(1, 2, 12, 8))
    with pytest.raises(HwmoeError, match=r"no task 1; choose from: 0 \(a\)"):
        model(images(model.config), 1)
