"""A vision transformer written as timm writes and names it, to be imported; not ours in any part.

`EdgeMoe` writes a folder in Edge-MoE's layout and computes what its files mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PatchEmbed(nn.Module):
    def __init__(self, img_size: tuple[int, int], patch: int, channels: int, dim: int) -> None:
        super().__init__()
        self.img_size = img_size
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int, act: nn.Module) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(dim, hidden), act, nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class LayerScale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, options: dict[str, Any]) -> None:
        super().__init__()
        eps = options["eps"]
        self.post = options["post_norm"]
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, heads, options["qkv_bias"])
        self.ls1 = LayerScale(dim) if options["layer_scale"] else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, 4 * dim, options["act"]())
        self.ls2 = LayerScale(dim) if options["layer_scale"] else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.post:
            x = x + self.norm1(self.attn(x))
            return x + self.norm2(self.mlp(x))
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


DEFAULTS: dict[str, Any] = {
    "qkv_bias": True,
    "layer_scale": False,
    "embed_class": True,
    "act": nn.GELU,
    "eps": 1e-6,
    "post_norm": False,
}


class Vit(nn.Module):
    """timm's VisionTransformer with global_pool='token'; weights are random, none special."""

    def __init__(
        self,
        image: tuple[int, int] = (16, 16),
        patch: int = 4,
        dim: int = 24,
        heads: int = 3,
        depth: int = 2,
        classes: int = 7,
        **options: Any,
    ) -> None:
        super().__init__()
        options = DEFAULTS | options
        self.embed_class = options["embed_class"]
        patches = image[0] // patch * (image[1] // patch)
        self.patch_embed = PatchEmbed(image, patch, 3, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, patches + self.embed_class, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, options) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=options["eps"])
        self.head = nn.Linear(dim, classes)
        random = torch.Generator().manual_seed(1)
        for name, value in self.named_parameters():
            at_one = ("norm" in name and name.endswith("weight")) or "gamma" in name
            spread = 0.3 if value.ndim < 2 or "token" in name else value[0].numel() ** -0.5
            value.data = torch.randn(value.shape, generator=random) * spread + at_one
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        cls = self.cls_token.expand(len(x), -1, -1)
        if self.embed_class:
            x = torch.cat([cls, x], dim=1) + self.pos_embed
        else:
            x = torch.cat([cls, x + self.pos_embed], dim=1)
        return self.head(self.norm(self.blocks(x))[:, 0])


@dataclass
class EdgeMoe:
    """Random weights in Edge-MoE's names; layers are dense and MoE in turn."""

    image: tuple[int, int] = (8, 16)
    patch: int = 4
    dim: int = 16
    heads: int = 2
    depth: int = 2
    hidden: int = 20
    experts: int = 4
    expert_hidden: int = 12
    top_k: int = 2
    classes: tuple[int, ...] = (5, 3)
    files: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        d, e, h = self.dim, self.experts, self.expert_hidden
        patches = self.image[0] // self.patch * (self.image[1] // self.patch)
        shapes: dict[str, tuple[int, ...]] = {
            "patch_embed_weight": (d, 3, self.patch, self.patch),
            "patch_embed_bias": (d,),
            "pos_embed": (patches + 1, d),
            "norm_weight": (d,),
            "norm_bias": (d,),
        }
        for i in range(self.depth):
            shapes |= {f"l{i}_norm{n}_{kind}": (d,) for n in (1, 2) for kind in ("weight", "bias")}
            shapes |= {f"l{i}_qkv_weight": (3 * d, d), f"l{i}_qkv_bias": (3 * d,)}
            shapes |= {f"l{i}_attn_proj_weight": (d, d), f"l{i}_attn_proj_bias": (d,)}
            if i % 2:
                shapes |= {f"l{i}_htoh4_weight": (e, h, d), f"l{i}_htoh4_bias": (e, h)}
                shapes |= {f"l{i}_h4toh_weight": (e, d, h), f"l{i}_h4toh_bias": (e, d)}
                gates = range(len(self.classes))
                shapes |= {f"l{i}_w_gate_T_task{t}": (e, d) for t in gates}
            else:
                shapes |= {f"l{i}_fc1_weight": (self.hidden, d), f"l{i}_fc1_bias": (self.hidden,)}
                shapes |= {f"l{i}_fc2_weight": (d, self.hidden), f"l{i}_fc2_bias": (d,)}
        for t, classes in enumerate(self.classes):
            shapes |= {f"head_task{t}_weight": (classes, d), f"head_task{t}_bias": (classes,)}
        random = torch.Generator().manual_seed(2)
        for name, shape in shapes.items():
            one = "norm" in name and name.endswith("weight")
            spread = 0.2 if name.endswith("bias") or one else shape[-1] ** -0.5
            self.files[name] = torch.randn(shape, generator=random) * spread + one

    def write(self, folder: Path) -> Path:
        folder.mkdir()
        for name, value in self.files.items():
            value.numpy().astype("<f4").tofile(folder / f"{name}.float32.bin")
        return folder

    def forward(self, images: Tensor, task: int, renormalize: bool = False) -> Tensor:
        """Logits; ``renormalize``: not as Edge-MoE itself, scores that add up to 1."""
        w, d = self.files, self.dim
        x = F.conv2d(images, w["patch_embed_weight"], w["patch_embed_bias"], stride=self.patch)
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([torch.zeros(len(x), 1, d), x], 1) + w["pos_embed"]
        for i in range(self.depth):
            n = F.layer_norm(x, (d,), w[f"l{i}_norm1_weight"], w[f"l{i}_norm1_bias"], 1e-6)
            q, k, v = F.linear(n, w[f"l{i}_qkv_weight"], w[f"l{i}_qkv_bias"]).chunk(3, -1)
            q, k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in (q, k, v))
            a = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            x = x + F.linear(a, w[f"l{i}_attn_proj_weight"], w[f"l{i}_attn_proj_bias"])
            n = F.layer_norm(x, (d,), w[f"l{i}_norm2_weight"], w[f"l{i}_norm2_bias"], 1e-6)
            if i % 2:
                x = x + self._experts(n, i, task, renormalize)
            else:
                g = F.gelu(F.linear(n, w[f"l{i}_fc1_weight"], w[f"l{i}_fc1_bias"]))
                x = x + F.linear(g, w[f"l{i}_fc2_weight"], w[f"l{i}_fc2_bias"])
        x = F.layer_norm(x[:, 0], (d,), w["norm_weight"], w["norm_bias"], 1e-6)
        return F.linear(x, w[f"head_task{task}_weight"], w[f"head_task{task}_bias"])

    def _experts(self, x: Tensor, i: int, task: int, renormalize: bool) -> Tensor:
        """Every expert on every token, weighted by a dense map of scores."""
        w = self.files
        scores = F.linear(x, w[f"l{i}_w_gate_T_task{task}"]).softmax(-1)
        keep = scores.topk(self.top_k, -1)
        scores = torch.zeros_like(scores).scatter(-1, keep.indices, keep.values)
        if renormalize:
            scores = scores / scores.sum(-1, keepdim=True)
        h = torch.einsum("btd,ehd->bteh", x, w[f"l{i}_htoh4_weight"]) + w[f"l{i}_htoh4_bias"]
        y = torch.einsum("bteh,edh->bted", F.gelu(h), w[f"l{i}_h4toh_weight"])
        return torch.einsum("bted,bte->btd", y + w[f"l{i}_h4toh_bias"], scores)


def pixels(image: tuple[int, int], count: int = 3) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).random((count, 3, *image), np.float32)
