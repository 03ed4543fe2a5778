"""A vision transformer with quantizers of Brevitas, and its export to QONNX."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import brevitas.export.onnx.manager as manager
import brevitas.nn as qnn
import onnx
import torch
from brevitas.export import export_qonnx
from brevitas.quant import Int8WeightPerChannelFloat
from brevitas.quant.ternary import SignedTernaryWeightPerTensorConst
from torch import Tensor, nn
from torch.nn import functional as F

INT8 = {"weight_bit_width": 8, "weight_quant": Int8WeightPerChannelFloat}


def linear(inputs: int, outputs: int, **changes: object) -> qnn.QuantLinear:
    return qnn.QuantLinear(inputs, outputs, bias=True, **{**INT8, **changes})


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = linear(dim, 3 * dim), linear(dim, dim)
        self.q_act, self.k_act, self.v_act, self.out_act = (qnn.QuantIdentity() for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        scores = self.q_act(q) @ self.k_act(k).transpose(-1, -2) * (c // self.heads) ** -0.5
        out = (scores.softmax(-1) @ self.v_act(v)).transpose(1, 2).reshape(b, n, c)
        return self.proj(self.out_act(out))


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int, **weights: object) -> None:
        super().__init__()
        self.fc1, self.fc2 = linear(dim, hidden, **weights), linear(hidden, dim, **weights)
        self.act = qnn.QuantIdentity()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(F.gelu(self.fc1(x))))


class Experts(nn.Module):
    """Ternary experts, all on every token, weighted by a dense matrix."""

    def __init__(self, dim: int, hidden: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.gate = qnn.QuantLinear(dim, experts, bias=False, **INT8)
        ternary = {
            "weight_quant": SignedTernaryWeightPerTensorConst,
            "weight_bit_width": 2,
            "weight_scaling_init": 0.3,
        }
        self.experts = nn.ModuleList(Mlp(dim, hidden, **ternary) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        values, index = self.gate(x).topk(self.top_k, dim=-1)
        weights = (index.unsqueeze(-1) == torch.arange(len(self.experts))).to(x.dtype)
        weights = (weights * values.softmax(-1).unsqueeze(-1)).sum(-2)
        return torch.stack(
            [weights[..., e].unsqueeze(-1) * f(x) for e, f in enumerate(self.experts)]
        ).sum(0)


class Layer(nn.Module):
    def __init__(self, dim: int, feed_forward: nn.Module) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), Attention(dim, 3)
        self.norm2, self.mlp = nn.LayerNorm(dim), feed_forward
        self.act1, self.act2 = qnn.QuantIdentity(), qnn.QuantIdentity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.act1(self.norm1(x)))
        return x + self.mlp(self.act2(self.norm2(x)))


class QuantViT(nn.Module):
    """Images [N, 3, 8, 12], two layers, the second with ternary experts if asked for."""

    def __init__(self, experts: bool, dim: int = 12) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.in_act = qnn.QuantIdentity()
        self.patch_embed = qnn.QuantConv2d(3, dim, 4, 4, bias=True, **INT8)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, 7, dim))
        ffn = Experts(dim, 8, 4, 2) if experts else Mlp(dim, 10)
        self.blocks = nn.Sequential(Layer(dim, Mlp(dim, 10)), Layer(dim, ffn))
        self.norm, self.act = nn.LayerNorm(dim), qnn.QuantIdentity()
        self.head = linear(dim, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed(self.in_act(image)).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        return self.head(self.act(self.norm(self.blocks(x))[:, 0]))


def trained(experts: bool) -> QuantViT:
    """A model whose quantizers have seen some images, in evaluation mode."""
    model = QuantViT(experts).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for seed in range(12):
        images = torch.rand(16, 3, 8, 12, generator=torch.Generator().manual_seed(seed))
        loss = F.cross_entropy(model(images), torch.arange(16) % 5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def export(model: nn.Module, path: Path, batch: int = 2, dynamo: bool = False) -> None:
    """QONNX of a model; Brevitas asks for onnxoptimizer, which only removes unused weights."""
    passing = SimpleNamespace(optimize=lambda model, passes: model)
    with mock.patch.multiple(manager, onnx=onnx, opt=passing):
        export_qonnx(model, torch.rand(batch, 3, 8, 12), export_path=str(path), dynamo=dynamo)
