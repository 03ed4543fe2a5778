"""Random commands of the linear kernel, and what must come back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwmoe.dse.linear_cycles import LinearWork
from hwmoe.plan.accelerator import LinearConfig
from hwmoe.plan.packing import ceil_div
from hwmoe.quant.kernels import LinearParams, linear
from hwmoe.quant.numerics import (
    ACCUMULATOR_LIMIT,
    MULTIPLIER_LIMIT,
    SHIFTS,
    IntArray,
    Saturations,
)
from hwmoe.sim.kernel_cases import LinearOp
from hwmoe.sim.streams import StreamResult


def random_params(
    rng: np.random.Generator, n_out: int, n_in: int, table: IntArray | None
) -> LinearParams:
    """Weights in range, and multipliers that use the range of the result and clip a little."""
    ternary = bool(rng.integers(2))
    wide = table is None and bool(rng.integers(2))
    limit = 1 if ternary else 127
    weight = rng.integers(-limit, limit + 1, (n_out, n_in))
    spread = max(1.0, 74 * 0.6 * limit * np.sqrt(n_in))
    bias = rng.integers(-int(spread) - 1, int(spread) + 1, n_out)
    shift = int(rng.choice(SHIFTS))
    ratio = (32768 if wide else 128) / spread * rng.uniform(0.05, 0.8, n_out)
    multiplier = np.minimum(np.round(ratio * 2.0**shift), MULTIPLIER_LIMIT - 1)
    return LinearParams(
        weight.astype(np.int8),
        bias.astype(np.int32),
        multiplier.astype(np.int32),
        shift,
        wide,
        table,
        ternary,
    )


def extreme_op(rng: np.random.Generator, cfg: LinearConfig) -> LinearOp:
    """Accumulators just inside +-2^26: the bias takes up what the weights leave."""
    n_tok = int(rng.integers(1, cfg.max_tokens + 1))
    n_in = cfg.t_in * max(1, min(4, cfg.x_words // n_tok))
    n_out = 2 * cfg.t_out - 1
    sign = rng.choice([-1, 1], n_out)
    weight = rng.choice([-127, 127], (n_out, n_in))
    bias = sign * (ACCUMULATOR_LIMIT - 1 - 128 * np.abs(weight).sum(1))
    x = rng.choice([-128, 127], (n_tok, n_in))
    for t in range(0, n_tok, 2):  # every other token goes as far as one channel can
        o = int(rng.integers(n_out))
        x[t] = np.where(weight[o] * sign[o] > 0, 127, -128)
    multiplier = rng.choice([0, 1, 1 << 16, MULTIPLIER_LIMIT - 1], n_out)
    params = LinearParams(
        weight.astype(np.int8),
        bias.astype(np.int32),
        multiplier.astype(np.int32),
        int(rng.choice(SHIFTS)),
        wide=bool(rng.integers(2)),
    )
    return LinearOp(x.astype(np.int8), params)


class Commands:
    """Draws commands one after the other; knows what the kernel holds at that point."""

    def __init__(self, cfg: LinearConfig, seed: int, tiles: int = 3) -> None:
        self.cfg, self.tiles = cfg, tiles
        self.rng = np.random.default_rng(seed)
        self.loaded: list[tuple[int, IntArray]] = []
        self.table: IntArray | None = None

    def draw(self, count: int) -> list[LinearOp]:
        return [self.next() for _ in range(count)]

    def next(self) -> LinearOp:
        """A command that loads activations, or one that uses loaded ones."""
        rng, cfg = self.rng, self.cfg
        if self.loaded and rng.random() < 0.5:
            base, x = self.loaded[int(rng.integers(len(self.loaded)))]
            op = LinearOp(x, self._params(x.shape[1]), load_x=False, x_base=base)
        else:
            op = self._load()
        if op.params.table is not None and self.table is not None:
            op = replace(op, load_table=op.params.table is not self.table)
        self.table = op.params.table if op.params.table is not None else self.table
        most = min(cfg.max_tokens, 3 * len(op.x))
        kind = rng.random()
        if kind < 0.1:
            return replace(op, n_list=0)
        if kind < 0.15:
            return replace(op, rows=np.zeros(0, np.int64))
        if kind < 0.5:
            length = int(rng.choice([1, most, rng.integers(1, most + 1)]))
            return replace(op, rows=rng.integers(0, len(op.x), length))
        if kind < 0.7 or len(op.x) > cfg.max_tokens:
            return replace(op, n_list=int(rng.integers(1, min(len(op.x), cfg.max_tokens) + 1)))
        return op

    def _params(self, n_in: int) -> LinearParams:
        rng = self.rng
        table = None
        if rng.random() < 0.4:
            fresh = self.table is None or rng.random() < 0.5
            table = rng.integers(-128, 128, 256).astype(np.int8) if fresh else self.table
        n_out = int(rng.integers(1, self.tiles * self.cfg.t_out + 1))
        return random_params(rng, n_out, n_in, table)

    def _load(self) -> LinearOp:
        rng, cfg = self.rng, self.cfg
        n_tok = int(rng.choice([1, cfg.max_tokens, rng.integers(1, cfg.max_tokens + 1)]))
        n_tok = min(n_tok, cfg.x_words)
        in_tiles = int(rng.integers(1, min(self.tiles, cfg.x_words // n_tok) + 1))
        n_in = cfg.t_in * in_tiles - int(rng.integers(cfg.t_in))
        base = int(rng.integers(0, cfg.x_words - in_tiles * n_tok + 1))
        x = rng.integers(-128, 128, (n_tok, n_in)).astype(np.int8)
        end = base + in_tiles * n_tok
        self.loaded = [
            (at, old)
            for at, old in self.loaded
            if at >= end or at + len(old) * ceil_div(old.shape[1], cfg.t_in) <= base
        ]
        self.loaded.append((base, x))
        return LinearOp(x, self._params(n_in), x_base=base)


def expected(op: LinearOp) -> tuple[IntArray, int]:
    """The result [n_list, N] and the clip count of one command."""
    sat = Saturations()
    if not op.listed:
        return np.zeros((0, len(op.params.weight)), np.int64), 0
    return linear(op.selected, op.params, "y", sat)[1].astype(np.int64), sat.total


def compare(cfg: LinearConfig, ops: list[LinearOp], result: StreamResult) -> None:
    """Every value and every clip count of a run; AssertionError names the command."""
    status = result.outputs["m_axis_status"].reshape(-1).view("<u4")
    at = 0
    for number, op in enumerate(ops):
        values, clips = expected(op)
        beats = result.outputs["m_axis_y"][at : at + op.output_beats(cfg)]
        at += len(beats)
        if op.listed:
            np.testing.assert_array_equal(op.decode(cfg, beats), values, f"command {number}")
        assert status[number] == clips, f"command {number}: {status[number]} clips, not {clips}"


def work_of(cfg: LinearConfig, op: LinearOp) -> LinearWork:
    """The command as the cycle formula takes it."""
    fields = op.command(cfg)
    sizes = {k: fields[k] for k in ("n_tok", "n_list", "in_tiles", "out_tiles", "chunks")}
    return LinearWork(
        **sizes,
        load_x=op.load_x,
        gather=op.rows is not None,
        load_table=op.params.table is not None and op.load_table,
        ternary=op.params.ternary,
        x_base=op.x_base,
        rows=None if op.rows is None else [int(row) for row in op.rows],
    )
