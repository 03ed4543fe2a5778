"""The floating-point reference: a pre-norm ViT with dense or Mixture-of-Experts layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig

WeightTransform = Callable[[Tensor], Tensor]


class Tracer:
    """Collects detached intermediate tensors under dotted names; does nothing without a dict."""

    def __init__(self, store: dict[str, Tensor] | None, prefix: str = "") -> None:
        self._store = store
        self._prefix = prefix

    def __call__(self, name: str, value: Tensor) -> Tensor:
        """Record ``value`` under ``name`` and hand it back unchanged."""
        if self._store is not None:
            self._store[self._prefix + name] = value.detach()
        return value

    def at(self, name: str) -> Tracer:
        """A tracer of the same dict whose names start with ``name.``."""
        return Tracer(self._store, f"{self._prefix}{name}.")


class FeedForward(nn.Module):
    """``fc2(gelu(fc1(x)))`` with the exact (erf) GELU; [..., D] -> [..., D]."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, trace: Tracer) -> Tensor:
        """Apply the block; traces ``fc1`` (before GELU), ``gelu`` and ``fc2``."""
        hidden = trace("fc1", self.fc1(x))
        return trace("fc2", self.fc2(trace("gelu", F.gelu(hidden))))


class ExpertLinear(nn.Module):
    """The same linear layer of all experts: ``weight`` [E, out, in] and ``bias`` [E, out]."""

    def __init__(self, experts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(experts, outputs))
        nn.init.trunc_normal_(self.weight, std=inputs**-0.5)


class MoE(nn.Module):
    """Top-k routed experts with a gate per task and, optionally, a shared expert."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.experts = config.experts
        self.top_k = config.top_k
        self.gate_scores = config.gate_scores
        self.fc1 = ExpertLinear(config.experts, config.dim, config.expert_hidden)
        self.fc2 = ExpertLinear(config.experts, config.expert_hidden, config.dim)
        self.gate = nn.Parameter(torch.empty(len(config.tasks), config.experts, config.dim))
        nn.init.trunc_normal_(self.gate, std=config.dim**-0.5)
        self.shared: FeedForward | None = None
        if config.shared_hidden:
            self.shared = FeedForward(config.dim, config.shared_hidden)

    def gate_logits(self, x: Tensor, task: int) -> Tensor:
        """Routing logits [..., E] of tokens ``x`` [..., D] under the gate of ``task``."""
        return F.linear(x, self.gate[task])

    def route(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Chosen experts (int64 [..., k], best first, ties to the lower index) and scores.

        With ``gate_scores`` ``topk`` the scores of a token add up to 1, with ``all`` to less.
        """
        if torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting():
            # ONNX has no stable sort, but its TopK breaks ties as we do.
            chosen, index = torch.topk(logits, self.top_k, dim=-1)
        else:
            ordered, index = torch.sort(logits, dim=-1, descending=True, stable=True)
            chosen, index = ordered[..., : self.top_k], index[..., : self.top_k]
        if self.gate_scores == "all":
            return index, torch.softmax(logits, dim=-1).gather(-1, index)
        return index, torch.softmax(chosen, dim=-1)

    def forward(
        self, x: Tensor, task: int, trace: Tracer, transform: WeightTransform | None
    ) -> Tensor:
        """Mix the experts of every token; ``x`` [B, T, D] -> [B, T, D]."""
        topk, scores = self.route(trace("gate", self.gate_logits(x, task)))
        trace("topk", topk)
        trace("scores", scores)
        change = transform or (lambda weight: weight)
        weight1, weight2 = change(self.fc1.weight), change(self.fc2.weight)
        flat = x.reshape(-1, x.shape[-1])
        chosen, share = topk.reshape(-1, self.top_k), scores.reshape(-1)
        out = torch.zeros_like(flat)
        # One expert after the other over its own tokens, the order the accelerator works in.
        for e in range(self.experts):
            rows, slot = torch.nonzero(chosen == e, as_tuple=True)
            log = trace.at(f"experts.{e}")
            log("rows", rows)
            hidden = log("fc1", F.linear(flat.index_select(0, rows), weight1[e], self.fc1.bias[e]))
            hidden = log("gelu", F.gelu(hidden))
            value = log("fc2", F.linear(hidden, weight2[e], self.fc2.bias[e]))
            score = share.index_select(0, rows * self.top_k + slot).unsqueeze(-1)
            out.index_add_(0, rows, value * score)
        if self.shared is not None:
            out = out + self.shared(flat, trace.at("shared"))
        return out.reshape(x.shape)


class Block(nn.Module):
    """One pre-norm layer: attention, then a dense or Mixture-of-Experts feed-forward block."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm1 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.proj = nn.Linear(config.dim, config.dim)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        # Only the block in use exists, so that the state dict holds no unused weights.
        if config.is_moe(layer):
            self.moe = MoE(config)
        else:
            self.mlp = FeedForward(config.dim, config.dense_hidden)
        self.is_moe = config.is_moe(layer)

    def attention(self, x: Tensor, trace: Tracer) -> Tensor:
        """Multi-head self-attention before the output projection; [B, T, D] -> [B, T, D]."""
        batch, tokens, dim = x.shape
        qkv = trace("qkv", self.qkv(x))
        query, key, value = qkv.reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        logits = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        probs = trace("probs", torch.softmax(logits, dim=-1))
        return trace("attn", (probs @ value).transpose(1, 2).reshape(batch, tokens, dim))

    def forward(
        self, x: Tensor, task: int, trace: Tracer, transform: WeightTransform | None
    ) -> Tensor:
        """Run the layer on ``x`` [B, T, D]; ``transform`` acts on the expert weights."""
        attn = self.attention(trace("norm1", self.norm1(x)), trace)
        x = trace("res1", x + trace("proj", self.proj(attn)))
        normed = trace("norm2", self.norm2(x))
        if self.is_moe:
            return trace("res2", x + self.moe(normed, task, trace.at("moe"), transform))
        return trace("res2", x + self.mlp(normed, trace.at("mlp")))


class MoEViT(nn.Module):
    """A Mixture-of-Experts vision transformer, the reference of every later stage.

    ``expert_transform``, when set, is applied to the stacked expert weights (``fc1`` and
    ``fc2`` [E, out, in], not the shared expert) in every forward pass; training uses it to
    see quantized experts.

    ``given_scales`` are quantizer scales that came with the weights, by the name of the tensor:
    of a weight one for each output channel, of an activation (a name of the trace) one.
    """

    expert_transform: WeightTransform | None
    given_scales: dict[str, Tensor]

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.expert_transform = None
        self.given_scales = {}
        self.patch_embed = nn.Linear(config.patch_size, config.dim)
        self.cls_token = nn.Parameter(torch.zeros(config.dim))
        self.pos_embed = nn.Parameter(torch.empty(config.tokens, config.dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.heads = nn.ModuleList(nn.Linear(config.dim, t.classes) for t in config.tasks)

    def patches(self, images: Tensor) -> Tensor:
        """Normalised patch vectors [B, P, C*ph*pw] in (channel, y, x) order, row by row."""
        (height, width), (ph, pw) = self.config.image, self.config.patch
        # Not buffers: they belong to the configuration and stay out of the state dict.
        mean = images.new_tensor(self.config.pixel_mean or (0.0,)).view(-1, 1, 1)
        std = images.new_tensor(self.config.pixel_std or (1.0,)).view(-1, 1, 1)
        batch = images.shape[0]  # unlike len(), it stays open when the model is exported
        grid = ((images - mean) / std).reshape(batch, -1, height // ph, ph, width // pw, pw)
        return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, self.config.patches, -1)

    def embed(self, images: Tensor) -> Tensor:
        """Tokens [B, T, D] of raw images: class token, patches, and the position table."""
        patches = self.patch_embed(self.patches(images))
        cls = self.cls_token.expand(images.shape[0], 1, -1)
        return torch.cat([cls, patches], dim=1) + self.pos_embed

    def forward(
        self, images: Tensor, task: int = 0, trace: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Logits [B, classes] of raw float32 ``images`` [B, C, H, W] for one ``task``.

        ``trace``, when given, is filled with the detached intermediate tensors. Raises
        `HwmoeError` for images of another shape or a task the model does not have.
        """
        self._check(images, task)
        log = Tracer(trace)
        x = log("embed", self.embed(images))
        for i, block in enumerate(self.blocks):
            x = block(x, task, log.at(f"blocks.{i}"), self.expert_transform)
        return log("head", self.heads[task](log("norm", self.norm(x[:, 0]))))

    def _check(self, images: Tensor, task: int) -> None:
        want = (self.config.channels, *self.config.image)
        if images.ndim != 4 or tuple(images.shape[1:]) != want:
            raise HwmoeError(
                f"model {self.config.name!r} takes images [N, {', '.join(map(str, want))}], "
                f"not {list(images.shape)}"
            )
        if not 0 <= task < len(self.config.tasks):
            names = ", ".join(f"{i} ({t.name})" for i, t in enumerate(self.config.tasks))
            raise HwmoeError(f"model {self.config.name!r} has no task {task}; choose from: {names}")
