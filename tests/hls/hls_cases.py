"""Accelerators, random operations and hand-made programs for the tests of the HLS C++."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwmoe.codegen.hls import HlsLimits, hls_files
from hwmoe.plan import packing
from hwmoe.plan.accelerator import AcceleratorConfig, AttentionConfig, LinearConfig
from hwmoe.plan.isa import instruction_set
from hwmoe.quant import kernels
from hwmoe.quant.kernels import AttentionParams, LinearParams
from hwmoe.quant.numerics import SHIFTS, IntArray, Saturations
from hwmoe.sim.kernel_cases import AttentionOp, LinearOp

LIMITS = HlsLimits(
    act8_words=512,
    act16_words=512,
    result_words=256,
    max_tokens=32,
    max_dim=64,
    max_experts=8,
    max_top_k=8,
)

CONFIGS = {
    "plain": AcceleratorConfig(linear=LinearConfig(max_tokens=32), attention=AttentionConfig()),
    "odd": AcceleratorConfig(
        linear=LinearConfig(
            t_in=6, t_out=12, t_tok=2, t_epi=3, w_rows=3, max_tokens=31, x_words=300
        ),
        attention=AttentionConfig(rows=3, dim_lanes=3, head_units=2, max_dim_tiles=7),
    ),
    "wide": AcceleratorConfig(
        linear=LinearConfig(
            t_in=32, t_out=8, t_tok=3, t_epi=4, w_rows=2, max_tokens=40, x_words=256
        ),
        attention=AttentionConfig(rows=1, dim_lanes=16, head_units=3),
    ),
}


def project(name: str) -> dict[str, str]:
    return hls_files(CONFIGS[name], LIMITS)


def linear_params(
    rng: np.random.Generator, n_out: int, n_in: int, *, extreme: bool = False, **options: object
) -> LinearParams:
    """Random constants within the contract; results spread over all of int8 and beyond."""
    ternary, wide = bool(options.get("ternary")), bool(options.get("wide"))
    limit = 1 if ternary else 127
    weight = rng.integers(-limit, limit + 1, (n_out, n_in)).astype(np.int8)
    if extreme:
        weight[rng.random(weight.shape) < 0.9] = limit
    shift = int(rng.choice(SHIFTS))
    spread = (30000.0 if wide else 120.0) / (60.0 * limit * np.sqrt(n_in))
    largest = int(min((1 << 17) - 1, max(1.0, spread * 2.0**shift)))
    return LinearParams(
        weight,
        rng.integers(-(1 << 24), 1 << 24, n_out).astype(np.int32) if extreme
        else rng.integers(-1000, 1000, n_out).astype(np.int32),
        np.full(n_out, (1 << 17) - 1, np.int32) if extreme
        else rng.integers(0, largest + 1, n_out).astype(np.int32),
        shift,
        wide,
        rng.integers(-128, 128, 256).astype(np.int8) if options.get("table") else None,
        ternary,
    )  # fmt: skip


def linear_reference(op: LinearOp) -> tuple[IntArray, int]:
    sat = Saturations()
    selected = op.selected
    if not len(selected):
        return np.zeros((0, len(op.params.weight)), np.int16), 0
    return kernels.linear(selected, op.params, "site", sat)[1], sat.total


def attention_op(
    rng: np.random.Generator, heads: int, tokens: int, dim: int, extreme: bool = False
) -> AttentionOp:
    shape = (heads, tokens, dim)
    q, k, v = (rng.integers(-128, 128, shape).astype(np.int8) for _ in "qkv")
    if extreme:
        q, k, v = (np.where(a < 0, -128, 127).astype(np.int8) for a in (q, k, v))
    shift = int(rng.choice(SHIFTS))
    mult = max(1, min((1 << 17) - 1, int(2.0**shift * rng.random() / 100)))
    # C / 2^f around 1: results fill int8, and some are clipped.
    params = AttentionParams(mult, shift, int(rng.integers(1 << 15, 1 << 16)), 14 + extreme)
    return AttentionOp(q, k, v, params)


def attention_reference(op: AttentionOp) -> tuple[IntArray, int]:
    sat = Saturations()
    return kernels.attention(op.q, op.k, op.v, op.params, "site", sat)[1], sat.total


@dataclass
class Assembler:
    """A program written step by step, with its constants."""

    acc: AcceleratorConfig
    rows: list[list[int]] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    beats: list[packing.Beats] = field(default_factory=list)

    def emit(self, op: str, **fields: int) -> int:
        """Append an instruction; its index. Fields not given are 0."""
        format_ = instruction_set().formats[op]
        self.rows.append(
            instruction_set().encode(op, {name: fields.pop(name, 0) for name in format_.fields})
        )
        assert not fields, f"{op} has no {list(fields)}"
        return len(self.rows) - 1

    def constants(self, values: IntArray) -> int:
        """Append int32 values to params; their address."""
        self.values.extend(int(v) for v in np.asarray(values).reshape(-1))
        return len(self.values) - np.asarray(values).size

    def load_const(self, tensor: IntArray, dst: int) -> int:
        """An int16 tensor [rows, channels] to act16."""
        tiles = packing.tile_major(tensor, self.acc.linear.t_in)
        words = tiles.shape[0] * tiles.shape[1]
        return self.emit("load_const", dst=dst, words=words, params=self.constants(tiles))

    def linear(self, p: LinearParams, **fields: int) -> int:
        """A LINEAR step; flags are those of `p` and `flags`."""
        cfg = self.acc.linear
        n_out, n_in = p.weight.shape
        base = sum(len(b) for b in self.beats)
        self.beats.append(packing.pack_weights(cfg, p.weight, p.ternary))
        flags = fields.pop("flags", 0) | p.wide << 4 | p.ternary << 5
        flags |= (p.table is not None) << 2
        pairs = packing.pad_to(np.stack([p.bias, p.multiplier], axis=1), 0, cfg.t_epi)
        return self.emit(
            "linear",
            in_tiles=packing.ceil_div(n_in, cfg.t_in),
            out_tiles=packing.ceil_div(n_out, cfg.t_out),
            chunks=packing.ceil_div(n_out, cfg.t_epi),
            shift=SHIFTS.index(p.shift),
            weights=base,
            params=self.constants(pairs),
            table=self.constants(p.table) if p.table is not None else 0,
            flags=flags,
            **fields,
        )

    def encoded(self) -> tuple[IntArray, IntArray, packing.Beats]:
        width = self.acc.linear.t_in * self.acc.linear.w_rows
        beats = np.concatenate([np.zeros((0, width), np.uint8), *self.beats])
        return np.array(self.rows, np.int32), np.array(self.values, np.int32), beats
