"""Random programs of the vector engine: all shapes that the memories of its bench can hold."""

from __future__ import annotations

import numpy as np
from vector_script import WORDS, Script, Tables

from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.packing import GATE_SCORES
from hwmoe.quant.kernels import GateParams, NormParams
from hwmoe.quant.numerics import SHIFTS

LOW, HIGH = -(1 << 15), (1 << 15) - 1


def spread(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """int16 of all sizes."""
    values = rng.normal(0, 2 ** rng.uniform(0, 17, (*shape[:-1], 1)), shape)
    return np.clip(values, LOW, HIGH).astype(np.int16)


def norm_params(rng: np.random.Generator, dim: int) -> NormParams:
    shift = int(rng.choice(SHIFTS))
    unit = min((1 << 17) - 1, int(127 / 2 * 2 ** (shift - 10)))  # some outputs are clipped
    gain = rng.integers(-unit, unit + 1, dim).astype(np.int32)
    bias = (rng.integers(-20, 21, dim) << shift).astype(np.int32)
    return NormParams(gain, bias, int(2 ** rng.uniform(0, 40)), shift)


class Programs:
    """Random instructions that fit the memories of the bench."""

    def __init__(self, config: tuple[AcceleratorConfig, Tables], seed: int):
        self.rng = np.random.default_rng(seed)
        self.script = Script(*config)
        acc, self.tables = config
        self.max_dim = acc.layernorm.lanes * acc.layernorm.max_tiles
        self.max_k = acc.gate.max_k

    def fill(self) -> None:
        """All memories, random, padding too."""
        shape = (WORDS, self.script.lanes)
        self.script.poke("res", 0, spread(self.rng, shape))
        self.script.poke("y", 0, spread(self.rng, shape))
        self.script.poke("act8", 0, self.rng.integers(-128, 128, shape).astype(np.int8))

    def pick(self, low: int, high: int) -> int:
        """Both ends are included, and likely."""
        return int(self.rng.choice([low, high, *self.rng.integers(low, high + 1, 3)]))

    def base(self, words: int) -> int:
        return int(self.rng.integers(0, WORDS - words + 1))

    def layernorm(self) -> None:
        lanes = self.script.lanes
        n_tok = self.pick(1, 12)
        first = int(self.rng.integers(0, n_tok))
        count = self.pick(1, n_tok - first)
        dim = min(self.pick(1, self.max_dim), WORDS // n_tok * lanes)
        tiles = -(-dim // lanes)
        at = {"src": self.base(tiles * n_tok), "dst": self.base(tiles * count)}
        self.script.layernorm(at, n_tok, first, count, norm_params(self.rng, dim))
        self.script.peek("act8", at["dst"], tiles * count)

    def add(self) -> None:
        n_tok, tiles = self.pick(1, 14), self.pick(1, 5)
        first = int(self.rng.integers(0, n_tok))
        count = self.pick(1, n_tok - first)
        size = n_tok * tiles
        base = self.base(size)
        apart = [b for b in range(WORDS - size) if abs(b - base) >= size]
        dst = base if self.rng.random() < 0.5 else int(self.rng.choice(apart))
        at = {"dst": dst, "base": base, "src": self.base(count * tiles)}
        self.script.add(at, n_tok, tiles, first, count)
        self.script.peek("res", dst, size)

    def gate(self, experts: int | None = None, k: int | None = None) -> None:
        lanes, tables = self.script.lanes, self.tables
        experts = experts or self.pick(1, tables.max_experts)
        k = k or self.pick(1, min(experts, self.max_k))
        n_tok = self.pick(1, tables.max_tokens)
        words = n_tok * -(-experts // lanes)
        src = self.base(words)
        if self.rng.random() < 0.5:  # ties; the higher half of experts has no tokens
            logits = self.rng.integers(0, 3, (words, lanes)).astype(np.int16)
            logits[:, lanes // 2 :] -= np.int16(50)
            self.script.poke("y", src, logits)
        slot, other = (int(s) for s in self.rng.integers(0, tables.slots, 2))
        shift = int(self.rng.choice(SHIFTS))
        mult = min((1 << 17) - 1, int(2 ** (shift - self.rng.uniform(0, 8))))
        kinds = GATE_SCORES[: 1 + self.script.acc.gate.all_scores]
        scores = kinds[self.rng.integers(0, len(kinds))]
        self.script.gate(src, n_tok, experts, slot, GateParams(mult, shift, k, scores), other)
        for s in (slot, other):
            for expert in range(tables.max_experts):
                self.script.peek_list(s, expert)

    def add_listed(self) -> None:
        tables = self.tables
        n_tok, tiles = tables.max_tokens, self.pick(1, min(4, WORDS // tables.max_tokens))
        which = tuple(int(self.rng.integers(0, n)) for n in (tables.slots, tables.max_experts))
        at = {"dst": self.base(n_tok * tiles), "src": self.base(n_tok * tiles)}
        self.script.add_listed(at, n_tok, tiles, (which[0], which[1]))
        self.script.peek("res", at["dst"], n_tok * tiles)

    def everything(self, length: int) -> Script:
        """A random program; then every word of the memories is compared, strays too."""
        self.fill()
        self.script.peek_list(0, 0)  # empty after reset
        self.script.add_listed({"dst": 3, "src": 5}, 4, 2, (0, 0))
        self.gate(experts=1, k=1)  # results in successive cycles, all of one list
        self.gate(experts=self.max_k, k=self.max_k)
        makers = (self.layernorm, self.add, self.gate, self.add_listed, self.add_listed)
        for _ in range(length):
            makers[self.rng.integers(0, len(makers))]()
        self.script.peek("res")
        self.script.peek("act8")
        return self.script
