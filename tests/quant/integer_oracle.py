"""docs/numerics.md once more, in plain Python integers: one value at a time, no NumPy inside.

Lists stand for tensors: a matrix is a list of rows. Division is `//` of integers, `>>` is written
as floor division by a power of two.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from hwmoe.quant.quantized import QuantizedModel

Row = list[int]
Matrix = list[Row]

EXP7 = [math.floor(127 * math.exp(-i / 46) + 0.5) for i in range(256)]
EXP15 = [math.floor(32767 * math.exp(-i / 32) + 0.5) for i in range(256)]


def shifted(value: int, shift: int) -> int:
    """Add half, shift right."""
    return (value + 2 ** (shift - 1)) // 2**shift


def rescale(a: int, m: int, s: int) -> int:
    return shifted(a * m, s)


def clip(value: int, bits: int, site: str, sat: Counter[str]) -> int:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    inside = min(max(value, low), high)
    sat[site] += inside != value
    return inside


def dot(a: Row, b: Row) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def layernorm(x: Row, gain: Row, bias: Row, eps: int, shift: int) -> Row:
    """Section 4 before its saturation."""
    dim, total = len(x), sum(x)
    v = dim * dot(x, x) - total**2 + eps
    a = math.ceil((v.bit_length() - 32) / 2)
    normal = v // 4**a if a >= 0 else v * 4**-a
    q = math.isqrt(normal)
    assert 2**15 <= q < 2**16
    r = 2**31 // q
    assert 2**15 <= r <= 2**16
    out = []
    for value, g, b in zip(x, gain, bias, strict=True):
        centred = dim * value - total
        assert abs(centred) < 2**26
        z = shifted(centred * r, 21 + a)
        assert abs(z) < 2**15
        out.append(shifted(z * g + b, shift))
    return out


def probabilities(scores: Row, m: int, s: int) -> Row:
    return [EXP7[min(255, rescale(max(scores) - c, m, s))] for c in scores]


def normalized(acc: Row, total: int, c: int, f: int) -> Row:
    n = total.bit_length()
    r = c * 2**n // total
    assert r < 2**17
    return [shifted(a * r, n + f) for a in acc]


def attention(q: Matrix, k: Matrix, v: Matrix, op: Any) -> tuple[Matrix, Matrix]:
    """Probabilities [T][T] and results before saturation [T][d] of one head."""
    columns = list(zip(*v, strict=True))
    probs, out = [], []
    for row in q:
        p = probabilities([dot(row, key) for key in k], op.score_mult, op.score_shift)
        probs.append(p)
        acc = [dot(p, list(column)) for column in columns]
        out.append(normalized(acc, sum(p), op.out_mult, op.out_shift))
    return probs, out


def route(logits: Row, k: int) -> Row:
    """The k largest, equal ones by index: by repeated search for the maximum."""
    left, chosen = list(range(len(logits))), []
    for _ in range(k):
        best = left[0]
        for expert in left:
            if logits[expert] > logits[best]:
                best = expert
        left.remove(best)
        chosen.append(best)
    return chosen


def scores(chosen: Row, m: int, s: int, over: Row | None = None) -> Row:
    """Of the chosen, in a softmax over them or over the logits `over`."""

    def weight(logit: int) -> int:
        return EXP15[min(255, rescale(chosen[0] - logit, m, s))]

    total = sum(weight(x) for x in (chosen if over is None else over))
    return [(weight(x) * 2**15 + total // 2) // total for x in chosen]


class Oracle:
    """One image through a quantized model."""

    def __init__(self, model: QuantizedModel, task: int) -> None:
        self.model, self.task = model, task
        self.sat: Counter[str] = Counter()
        self.trace: dict[str, Any] = {}

    def linear(self, op: str, x: Matrix, name: str = "") -> Matrix:
        p = self.model.linear(op)
        weight, bias, mult = p.weight.tolist(), p.bias.tolist(), p.multiplier.tolist()
        bits = 16 if p.wide else 8
        y = [
            [
                clip(rescale(b + dot(row, w), m, p.shift), bits, op, self.sat)
                for w, b, m in zip(weight, bias, mult, strict=True)
            ]
            for row in x
        ]
        self.trace[name or op] = y
        return y if p.table is None else [[int(p.table[v & 255]) for v in row] for row in y]

    def norm(self, name: str, x: Matrix) -> Matrix:
        p = self.model.norm(name)
        gain, bias = p.gain.tolist(), p.bias.tolist()
        y = [
            [clip(v, 8, name, self.sat) for v in layernorm(row, gain, bias, p.eps, p.shift)]
            for row in x
        ]
        self.trace[name] = y
        return y

    def add(self, residual: Matrix, y: Matrix, site: str) -> Matrix:
        return [
            [clip(a + b, 16, site, self.sat) for a, b in zip(*rows, strict=True)]
            for rows in zip(residual, y, strict=True)
        ]

    def attention(self, block: str, x: Matrix) -> Matrix:
        c = self.model.config
        qkv = self.linear(f"{block}.qkv", x)
        name, d = f"{block}.attn", c.head_dim
        merged: Matrix = [[] for _ in x]
        probs = []
        for head in range(c.heads):
            q, k, v = (
                [row[part * c.dim + head * d : part * c.dim + (head + 1) * d] for row in qkv]
                for part in range(3)
            )
            p, out = attention(q, k, v, self.model.attention(name))
            probs.append(p)
            for token, row in enumerate(out):
                merged[token] += [clip(value, 8, name, self.sat) for value in row]
        self.trace[f"{block}.probs"], self.trace[name] = probs, merged
        return self.linear(f"{block}.proj", merged)

    def feed_forward(self, name: str, x: Matrix) -> Matrix:
        hidden = self.linear(f"{name}.fc1", x)
        self.trace[f"{name}.gelu"] = hidden
        return self.linear(f"{name}.fc2", hidden)

    def moe(self, block: str, x: Matrix, residual: Matrix) -> Matrix:
        name, c, site = f"{block}.moe", self.model.config, f"{block}.res2"
        if c.shared_hidden:
            residual = self.add(residual, self.feed_forward(f"{name}.shared", x), site)
        logits = self.linear(f"{name}.gate.{self.task}", x, f"{name}.gate")
        p = self.model.gate(f"{name}.softmax.{self.task}")
        chosen = [route(row, p.top_k) for row in logits]
        weight = [
            scores(
                [row[e] for e in best],
                p.score_mult,
                p.score_shift,
                row if c.gate_scores == "all" else None,
            )
            for row, best in zip(logits, chosen, strict=True)
        ]
        self.trace[f"{name}.topk"], self.trace[f"{name}.scores"] = chosen, weight
        for expert in range(c.experts):
            tokens = [t for t, best in enumerate(chosen) if expert in best]
            self.trace[f"{name}.experts.{expert}.rows"] = tokens
            if not tokens:
                continue
            y = self.feed_forward(f"{name}.experts.{expert}", [x[t] for t in tokens])
            for t, row in zip(tokens, y, strict=True):
                u = weight[t][chosen[t].index(expert)]
                term = [shifted(value * u, 15) for value in row]
                residual = [
                    *residual[:t],
                    *self.add([residual[t]], [term], site),
                    *residual[t + 1 :],
                ]
        return residual

    def run(self, patches: Matrix) -> Row:
        c = self.model.config
        start = self.model.position.tolist()
        embedded = self.linear("patch_embed", patches)
        residual = [start[0], *self.add(start[1:], embedded, "embed")]
        self.trace["embed"] = residual
        for layer in range(c.depth):
            block = f"blocks.{layer}"
            y = self.attention(block, self.norm(f"{block}.norm1", residual))
            residual = self.add(residual, y, f"{block}.res1")
            self.trace[f"{block}.res1"] = residual
            x = self.norm(f"{block}.norm2", residual)
            if c.is_moe(layer):
                residual = self.moe(block, x, residual)
            else:
                y = self.feed_forward(f"{block}.mlp", x)
                residual = self.add(residual, y, f"{block}.res2")
            self.trace[f"{block}.res2"] = residual
        return self.linear(f"heads.{self.task}", self.norm("norm", residual[:1]), "head")[0]
