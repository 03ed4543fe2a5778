"""Ranges of a block's sites chosen together, by the error of the block's result.

BRECQ (Li et al. 2021): the loss of the network is approached by the squared
error of a block's result, weighted by the squared gradient of the loss there (the diagonal of the
Fisher matrix). Q-HyViT (Lee et al. 2023) searches the scales of a block's layers
jointly by it. Here sites take their turns, and a factor on a range is kept only if the error
falls. The loss is the cross-entropy with the float model's own answers: no labels are needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from hwmoe.model.vit import Block, FeedForward, MoE, MoEViT, Tracer
from hwmoe.quant.calibrate import Progress, Ranges
from hwmoe.quant.ternary import fake_ternary
from hwmoe.quant.weight_scale import best_weight_scale

IMAGES = 8
"""Images a task: a block is run some 40 times over them."""
FACTORS = (0.6, 0.75, 0.87, 1.15, 1.3)
SITES = ("norm1", "q", "k", "v", "attn", "norm2", "fc1", "gelu")


def reconstruct(
    model: MoEViT,
    images: npt.NDArray[np.float32],
    ranges: Ranges,
    fixed: set[str],
    ternary: bool,
    progress: Progress,
) -> set[str]:
    """Change the limits of `ranges` where a block gains; the sites that changed.

    images: raw pixels [N, C, H, W], of which the first are used; `fixed` sites stay.
    """
    few = torch.from_numpy(images[:IMAGES])
    passes = [_pass(model, few, task) for task in range(len(model.config.tasks))]
    moved: set[str] = set()
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        work = [
            _Work(p.inputs[layer], p.inputs[layer + 1], p.weights[layer], t)
            for t, p in enumerate(passes)
        ]
        with torch.no_grad():
            rounded = _RoundedBlock(block, f"blocks.{layer}", ranges, ternary)
            moved |= rounded.search(work, fixed)
        progress("reconstructing blocks", layer + 1, len(model.blocks))
    return moved


@dataclass(frozen=True)
class _Pass:
    """Input of each block and the last result; squared gradients of each block's result."""

    inputs: list[Tensor]
    weights: list[Tensor]


@dataclass(frozen=True)
class _Work:
    given: Tensor
    wanted: Tensor
    weight: Tensor
    task: int


def _pass(model: MoEViT, images: Tensor, task: int) -> _Pass:
    """The float model once forward and once back."""
    x = model.embed(images).detach().requires_grad_()
    inputs = [x]
    for block in model.blocks:
        x = block(x, task, Tracer(None), model.expert_transform)
        inputs.append(x)
    logits = model.heads[task](model.norm(x[:, 0]))
    loss = F.cross_entropy(logits, logits.argmax(dim=1), reduction="sum")
    # Gradients of all results but the input's; the weights of the model keep none.
    slopes = torch.autograd.grad(loss, inputs[1:])
    # A floor, for tokens that this loss does not see at all: of the last block, all but one.
    weights = [g.square() / g.square().mean().clamp(min=1e-30) + 1e-2 for g in slopes]
    return _Pass([value.detach() for value in inputs], weights)


def _rounded_weight(weight: Tensor, power: npt.NDArray[np.float64] | None) -> Tensor:
    """[..., N, K] as int8 with the scales that the quantizer will choose."""
    flat = weight.detach().numpy().astype(np.float64).reshape(-1, weight.shape[-1])
    scale = np.maximum(best_weight_scale(flat, power), 1e-12)[:, None]
    whole = np.clip(np.round(flat / scale), -127, 127) * scale
    return torch.from_numpy(whole.astype(np.float32)).reshape(weight.shape)


class _RoundedBlock:
    """One block in float32 with int8 weights and activations rounded as their ranges say."""

    def __init__(self, block: Block, name: str, ranges: Ranges, ternary: bool) -> None:
        self.block, self.name, self.ranges = block, name, ranges
        power = {site: ranges.channels[f"{name}.{site}"].power for site in ("norm1", "norm2")}
        self.qkv = _rounded_weight(block.qkv.weight, power["norm1"])
        self.proj = _rounded_weight(block.proj.weight, ranges.channels[f"{name}.attn"].power)
        self.feed: dict[str, tuple[Tensor, Tensor]] = {}
        if not block.is_moe:
            self._feed(f"{name}.mlp", block.mlp, power["norm2"])
            return
        experts = f"{name}.moe"
        if ternary:
            self.feed[experts] = (
                fake_ternary(block.moe.fc1.weight),
                fake_ternary(block.moe.fc2.weight),
            )
        else:
            self._feed(experts, block.moe, power["norm2"])
        if block.moe.shared is not None:
            self._feed(f"{experts}.shared", block.moe.shared, power["norm2"])

    def _feed(self, name: str, layer: FeedForward | MoE, power: npt.NDArray[np.float64]) -> None:
        gelu = self.ranges.channels[f"{name}.gelu"].power
        self.feed[name] = (
            _rounded_weight(layer.fc1.weight, power),
            _rounded_weight(layer.fc2.weight, gelu),
        )

    def search(self, work: list[_Work], fixed: set[str]) -> set[str]:
        """Try FACTORS on every site in turn."""
        limits, moved = self.ranges.limits, set()
        least = self.error(work)
        prefix = f"{self.name}."
        names = [
            site
            for site in limits
            if site.startswith(prefix) and site.rpartition(".")[2] in SITES and site not in fixed
        ]
        for site in names:
            start = best = limits[site]
            for factor in FACTORS:
                # Beyond the largest magnitude there is nothing to gain.
                limits[site] = min(start * factor, self.ranges.largest[site])
                if limits[site] in (start, best):
                    continue
                error = self.error(work)
                if error < least:
                    least, best = error, limits[site]
            limits[site] = best
            if best != start:
                moved.add(site)
        return moved

    def error(self, work: list[_Work]) -> float:
        """Weighted squared error of the block's results, all tasks."""
        return sum(
            float(
                (w.weight * (self.run(w.given, w.task) - w.wanted).square()).sum(
                    dtype=torch.float64
                )
            )
            for w in work
        )

    def round(self, site: str, value: Tensor) -> Tensor:
        step = self.ranges.limit(site) / 127
        return torch.clamp(torch.round(value / step), -128, 127) * step

    def run(self, x: Tensor, task: int) -> Tensor:
        """[B, T, D] -> [B, T, D]; routing stays that of the exact input."""
        block, name = self.block, self.name
        batch, tokens, dim = x.shape
        normed = self.round(f"{name}.norm1", block.norm1(x))
        thirds = F.linear(normed, self.qkv, block.qkv.bias).chunk(3, dim=-1)
        q, k, v = (
            self.round(f"{name}.{part}", third)
            .reshape(batch, tokens, block.heads, -1)
            .transpose(1, 2)
            for part, third in zip("qkv", thirds, strict=True)
        )
        probs = torch.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5, dim=-1)
        attn = self.round(f"{name}.attn", (probs @ v).transpose(1, 2).reshape(batch, tokens, dim))
        x = x + F.linear(attn, self.proj, block.proj.bias)
        normed = block.norm2(x)
        low = self.round(f"{name}.norm2", normed)
        if not block.is_moe:
            mlp = block.mlp
            return x + self.feed_forward(f"{name}.mlp", low, mlp.fc1.bias, mlp.fc2.bias)
        return x + self.mixture(block.moe, low, normed, task)

    def feed_forward(self, name: str, x: Tensor, bias1: Tensor, bias2: Tensor) -> Tensor:
        return self.pair(name, self.feed[name], x, bias1, bias2)

    def pair(
        self, name: str, weights: tuple[Tensor, Tensor], x: Tensor, bias1: Tensor, bias2: Tensor
    ) -> Tensor:
        """fc1, GELU, fc2 over [..., D]."""
        hidden = self.round(f"{name}.fc1", F.linear(x, weights[0], bias1))
        return F.linear(self.round(f"{name}.gelu", F.gelu(hidden)), weights[1], bias2)

    def mixture(self, moe: MoE, low: Tensor, exact: Tensor, task: int) -> Tensor:
        name = f"{self.name}.moe"
        chosen, scores = moe.route(moe.gate_logits(exact, task))
        flat, out = low.reshape(-1, low.shape[-1]), torch.zeros_like(low).reshape(-1, low.shape[-1])
        chosen, share = chosen.reshape(-1, moe.top_k), scores.reshape(-1, moe.top_k)
        weight1, weight2 = self.feed[name]
        for e in range(moe.experts):
            rows, slot = torch.nonzero(chosen == e, as_tuple=True)
            own = (weight1[e], weight2[e])
            value = self.pair(name, own, flat[rows], moe.fc1.bias[e], moe.fc2.bias[e])
            out.index_add_(0, rows, value * share[rows, slot].unsqueeze(-1))
        if moe.shared is not None:
            shared = moe.shared
            out = out + self.feed_forward(f"{name}.shared", flat, shared.fc1.bias, shared.fc2.bias)
        return out.reshape(low.shape)
