"""Vision transformers as other people write them: nothing here comes from hwmoe.

Each class is a style of its own, to be exported with `torch.onnx`: how heads are cut, where the
scale goes, how tokens find their experts and how the results come together.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TimmAttention(nn.Module):
    """Fused qkv, `unbind`, scaled dot product as one call of PyTorch."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class HeadFirstAttention(nn.Module):
    """Fused projection whose rows are ordered (head, q/k/v, channel); scale on the query."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.to_qkv = nn.Linear(dim, dim * 3, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.to_qkv(x).view(b, n, self.heads, 3 * (c // self.heads)).chunk(3, dim=-1)
        scores = torch.einsum("bihd,bjhd->bhij", q * self.scale, k)
        out = torch.einsum("bhij,bjhd->bihd", scores.softmax(dim=-1), v)
        return self.to_out(out.reshape(b, n, c))


class SeparateAttention(nn.Module):
    """Three projections and a division by the square root, as in BERT."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, dim // heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.output = nn.Linear(dim, dim)

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, self.size).permute(0, 2, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.size)
        context = torch.matmul(torch.softmax(scores, dim=-1), v).permute(0, 2, 1, 3).contiguous()
        return self.output(context.view(x.shape))


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int, approximate: str = "none") -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.act = nn.GELU(approximate)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class MaskedExperts(nn.Module):
    """Every expert on every token, weighted with a dense matrix that is zero but for the top k."""

    def __init__(self, dim: int, hidden: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.gate = nn.Linear(dim, experts, bias=False)
        self.experts = nn.ModuleList(Mlp(dim, hidden) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        logits = self.gate(x)
        values, index = logits.topk(self.top_k, dim=-1)
        weights = torch.zeros_like(logits).scatter(-1, index, values.softmax(dim=-1))
        out = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            out = out + weights[..., e : e + 1] * expert(x)
        return out


class GatheredExperts(nn.Module):
    """Weights of all experts in one tensor; each token gathers its own and multiplies."""

    def __init__(self, dim: int, hidden: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.router = nn.Linear(dim, experts, bias=False)
        self.w1 = nn.Parameter(torch.randn(experts, dim, hidden) * dim**-0.5)
        self.b1 = nn.Parameter(torch.randn(experts, hidden) * 0.1)
        self.w2 = nn.Parameter(torch.randn(experts, hidden, dim) * hidden**-0.5)
        self.b2 = nn.Parameter(torch.randn(experts, dim) * 0.1)

    def route(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and experts."""
        top = torch.topk(logits, self.top_k, dim=-1)
        return torch.softmax(top.values, dim=-1), top.indices

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        scores, index = self.route(self.router(flat))
        out = torch.zeros_like(flat)
        for slot in range(self.top_k):
            e = index[:, slot]
            hidden = torch.bmm(flat.unsqueeze(1), self.w1[e]) + self.b1[e].unsqueeze(1)
            y = (torch.bmm(F.gelu(hidden), self.w2[e]) + self.b2[e].unsqueeze(1)).squeeze(1)
            out = out + y * scores[:, slot].unsqueeze(-1)
        return out.reshape(x.shape)


class ScoredExperts(GatheredExperts):
    """A softmax over all experts, of which the chosen keep their scores (as V-MoE)."""

    def route(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        scores, index = logits.softmax(dim=-1).topk(self.top_k, dim=-1)
        return scores, index


class SparseExperts(nn.Module):
    """Softmax over all experts, the chosen renormalised, rows found by `where` (as Mixtral)."""

    def __init__(self, dim: int, hidden: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.gate = nn.Linear(dim, experts, bias=False)
        self.experts = nn.ModuleList(Mlp(dim, hidden) for _ in range(experts))
        self.shared_expert = Mlp(dim, hidden + 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        share, index = torch.topk(self.gate(flat).softmax(dim=-1), self.top_k, dim=-1)
        share = share / share.sum(dim=-1, keepdim=True)
        out = self.shared_expert(flat)
        for e, expert in enumerate(self.experts):
            token, slot = torch.where(index == e)
            out = out.index_add(0, token, expert(flat[token]) * share[token, slot, None])
        return out.reshape(x.shape)


class BatchedExperts(nn.Module):
    """All experts at once by a batched product, then a weighted sum by `einsum`."""

    def __init__(self, dim: int, hidden: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k, self.count = top_k, experts
        self.gate = nn.Linear(dim, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, hidden, dim) * dim**-0.5)
        self.up_bias = nn.Parameter(torch.randn(experts, 1, hidden) * 0.1)
        self.down = nn.Parameter(torch.randn(experts, dim, hidden) * hidden**-0.5)
        self.down_bias = nn.Parameter(torch.randn(experts, 1, dim) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        values, index = torch.topk(self.gate(flat), self.top_k, dim=-1)
        chosen = F.one_hot(index, self.count).to(x.dtype) * values.softmax(-1).unsqueeze(-1)
        hidden = F.gelu(torch.matmul(flat, self.up.transpose(1, 2)) + self.up_bias)
        out = torch.matmul(hidden, self.down.transpose(1, 2)) + self.down_bias  # E, N, D
        return (chosen.sum(1).t().unsqueeze(-1) * out).sum(0).reshape(x.shape)


ATTENTIONS = {"timm": TimmAttention, "head-first": HeadFirstAttention, "bert": SeparateAttention}
EXPERTS = {
    "masked": MaskedExperts,
    "gathered": GatheredExperts,
    "scored": ScoredExperts,
    "sparse": SparseExperts,
    "batched": BatchedExperts,
}


class Layer(nn.Module):
    def __init__(self, dim: int, attention: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim, eps=1e-6), attention
        self.norm2, self.mlp = nn.LayerNorm(dim, eps=1e-6), feed_forward

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Conv patches, class token, learned positions; `experts` in every second layer, if named."""

    def __init__(
        self,
        attention: str = "timm",
        experts: str | None = None,
        approximate: str = "none",
        dim: int = 12,
        depth: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.patch_embed = nn.Conv2d(3, dim, (4, 4), (4, 4))
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, 7, dim))
        layers = []
        for i in range(depth):
            moe = experts and i % 2
            ffn = EXPERTS[experts](dim, 8, 4, 2) if moe else Mlp(dim, 20, approximate)
            layers.append(Layer(dim, ATTENTIONS[attention](dim, 3), ffn))
        self.blocks = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, 5)
        for parameter in self.parameters():  # biases and norms must not be the trivial ones
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed(image).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


def export(
    model: nn.Module, path: Path, dynamo: bool = False, batch: int = 2, **options: Any
) -> Path:
    """An ONNX file by PyTorch, by default for any batch of the images the models here take."""
    images = torch.rand(batch, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    if dynamo:
        options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
        options["verbose"] = False
    else:
        options = {"dynamic_axes": {"images": {0: "batch"}}, "input_names": ["images"], **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (images,), str(path), dynamo=dynamo, **options)
    return path
