"""The integer reference: the whole model in NumPy, the truth every other stage is held to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hwmoe.quant import kernels
from hwmoe.quant.numerics import INT16, IntArray, Saturations, apply_score, saturate
from hwmoe.quant.quantized import QuantizedModel

Trace = dict[str, IntArray]


@dataclass
class Run:
    """What a run leaves: int16 logits [B, classes], counts by site, tensors by name if asked."""

    logits: npt.NDArray[np.int16]
    saturations: Saturations
    trace: Trace | None


@dataclass
class _Pass:
    model: QuantizedModel
    task: int
    keep: bool
    sat: Saturations = field(default_factory=Saturations)
    trace: Trace = field(default_factory=dict)

    def note(self, name: str, value: IntArray) -> IntArray:
        if self.keep:
            self.trace[name] = value
        return value

    def linear(self, op: str, x: IntArray, name: str | None = None) -> IntArray:
        """A linear operation, noted under `name` (by default its own)."""
        raw, y = kernels.linear(x, self.model.linear(op), op, self.sat)
        self.note(name or op, raw)
        return y

    def norm(self, name: str, x: IntArray) -> IntArray:
        return self.note(name, kernels.norm(x, self.model.norm(name), name, self.sat))

    def add(self, residual: IntArray, y: IntArray, name: str) -> IntArray:
        return saturate(residual.astype(np.int32) + y, INT16, name, self.sat)

    def attention(self, block: str, x: IntArray) -> IntArray:
        config = self.model.config
        batch, tokens, dim = x.shape
        qkv = self.linear(f"{block}.qkv", x)
        split = qkv.reshape(batch, tokens, 3, config.heads, config.head_dim)
        q, k, v = split.transpose(2, 0, 3, 1, 4)
        name = f"{block}.attn"
        p, out = kernels.attention(q, k, v, self.model.attention(name), name, self.sat)
        self.note(f"{block}.probs", p)
        merged = self.note(name, out.transpose(0, 2, 1, 3).reshape(batch, tokens, dim))
        return self.linear(f"{block}.proj", merged)

    def feed_forward(self, name: str, x: IntArray) -> IntArray:
        """fc1, GELU, fc2: int8 [..., D] -> int16 [..., D]."""
        hidden = self.note(f"{name}.gelu", self.linear(f"{name}.fc1", x))
        return self.linear(f"{name}.fc2", hidden)

    def moe(self, block: str, x: IntArray, residual: IntArray) -> IntArray:
        """Shared expert, gate, then experts one by one over their tokens; the new residual."""
        name, config = f"{block}.moe", self.model.config
        if config.shared_hidden:
            residual = self.add(residual, self.feed_forward(f"{name}.shared", x), f"{block}.res2")
        logits = self.linear(f"{name}.gate.{self.task}", x, f"{name}.gate")
        chosen, scores = kernels.gate(logits, self.model.gate(f"{name}.softmax.{self.task}"))
        self.note(f"{name}.topk", chosen)
        self.note(f"{name}.scores", scores)
        flat_x, flat_res = x.reshape(-1, config.dim), residual.reshape(-1, config.dim).copy()
        flat_chosen = chosen.reshape(-1, config.top_k)
        flat_scores = scores.reshape(-1, config.top_k)
        for expert in range(config.experts):
            rows, slot = np.nonzero(flat_chosen == expert)
            self.note(f"{name}.experts.{expert}.rows", rows)
            if not len(rows):
                continue
            y = self.feed_forward(f"{name}.experts.{expert}", flat_x[rows])
            weighted = apply_score(y, flat_scores[rows, slot][:, None])
            flat_res[rows] = self.add(flat_res[rows], weighted, f"{block}.res2")
        return flat_res.reshape(residual.shape)

    def run(self, patches: IntArray) -> IntArray:
        config = self.model.config
        embedded = self.linear("patch_embed", patches)
        residual = np.repeat(self.model.position[None], len(patches), axis=0)
        residual[:, 1:] = self.add(residual[:, 1:], embedded, "embed")
        self.note("embed", residual)
        for layer in range(config.depth):
            block = f"blocks.{layer}"
            y = self.attention(block, self.norm(f"{block}.norm1", residual))
            residual = self.note(f"{block}.res1", self.add(residual, y, f"{block}.res1"))
            x = self.norm(f"{block}.norm2", residual)
            if config.is_moe(layer):
                residual = self.moe(block, x, residual)
            else:
                y = self.feed_forward(f"{block}.mlp", x)
                residual = self.add(residual, y, f"{block}.res2")
            self.note(f"{block}.res2", residual)
        token = self.norm("norm", residual[:, 0])
        return self.linear(f"heads.{self.task}", token, "head")


def run_reference(
    model: QuantizedModel, patches: npt.NDArray[np.int8], task: int = 0, trace: bool = False
) -> Run:
    """int8 patches [B, patches, C*ph*pw] through the whole model for one task.

    With `trace`, every intermediate tensor is kept under the names that `MoEViT` uses, and
    `blocks.i.moe.experts.e.rows` lists the rows (image * tokens + token) of each expert.
    """
    passing = _Pass(model, task, trace)
    logits = passing.run(patches)
    return Run(logits.astype(np.int16), passing.sat, passing.trace if trace else None)
