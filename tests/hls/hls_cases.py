"""Accelerators, random operations and hand-made programs for the tests of the HLS C++."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hwmoe.codegen.hls import hls_files
from hwmoe.plan import packing
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    GateConfig,
    LinearConfig,
    PortsConfig,
)
from hwmoe.plan.image import IMAGE_HEADER
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import pad_up
from hwmoe.plan.program import MachineSizes
from hwmoe.quant import kernels
from hwmoe.quant.kernels import AttentionParams, LinearParams
from hwmoe.quant.numerics import SHIFTS, IntArray, Saturations
from hwmoe.sim.csim import CSim, CSimResult
from hwmoe.sim.kernel_cases import AttentionOp, LinearOp

SIZES = MachineSizes(
    act8_words=1024,
    heads_words=512,
    res_words=512,
    y_words=256,
    slots=3,
    max_experts=8,
    max_tokens=32,
    max_steps=512,
)

MACHINES = {
    "plain": AcceleratorConfig(
        linear=LinearConfig(max_tokens=32),
        gate=GateConfig(max_experts=8, max_k=8, all_scores=True),
    ),
    "narrow": AcceleratorConfig(
        linear=LinearConfig(
            t_in=8, t_out=12, t_tok=3, t_epi=2, w_rows=3, max_tokens=31, x_words=300
        ),
        attention=AttentionConfig(rows=3, dim_lanes=2, head_units=2, max_dim_tiles=10),
        gate=GateConfig(max_experts=8, max_k=8, all_scores=True),
        ports=PortsConfig(port_bits=64, w_ports=3),
    ),
    "wide": AcceleratorConfig(
        linear=LinearConfig(
            t_in=32, t_out=8, t_tok=3, t_epi=4, w_rows=2, max_tokens=40, x_words=256
        ),
        attention=AttentionConfig(rows=1, dim_lanes=16, head_units=2),
        gate=GateConfig(max_experts=8, max_k=8),
        ports=PortsConfig(port_bits=256, w_ports=2),
    ),
}
"""What whole programs run on."""

CONFIGS = MACHINES | {
    "odd": AcceleratorConfig(
        linear=LinearConfig(
            t_in=6, t_out=16, t_tok=2, t_epi=2, w_rows=4, max_tokens=31, x_words=300
        ),
        attention=AttentionConfig(rows=3, dim_lanes=3, head_units=2, max_dim_tiles=7),
        ports=PortsConfig(port_bits=64, w_ports=3),
    ),
}
"""What the kernels alone run on: words need not be a power of two."""


def project(name: str) -> dict[str, str]:
    return hls_files(CONFIGS[name], SIZES)


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


def int16(rng: np.random.Generator, *shape: int) -> IntArray:
    return rng.integers(-32768, 32768, shape).astype(np.int16)


@dataclass
class Assembler:
    """A program written step by step, with its constants and one image.

    Steps have no tokens unless they are given: the C simulation runs them in order. Step 0 loads
    the image, which holds all that was given to `image`, to word 0 of act8.
    """

    acc: AcceleratorConfig
    rows: list[tuple[str, dict[str, int]]] = field(default_factory=list)
    values: list[IntArray] = field(default_factory=list)
    beats: list[packing.Beats] = field(default_factory=list)
    words: list[npt.NDArray[np.int8]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.emit("load_image")

    def emit(self, op: str, **fields: int) -> int:
        """Append an instruction; its index. Fields not given are 0, of tasks: all."""
        names = set(instruction_set().formats[op].layout) - {"opcode"}
        assert set(fields) <= names, f"{op} has no {set(fields) - names}"
        self.rows.append((op, dict.fromkeys(names, 0) | {"tasks": 0xFFFF} | fields))
        return len(self.rows) - 1

    def constants(self, values: IntArray) -> int:
        """Append int32 values to params; their address."""
        at = sum(part.size for part in self.values)
        flat = np.asarray(values).astype(np.int32).reshape(-1)
        self.values.append(packing.pad_to(flat, 0, 16))
        return at

    def image(self, tensor: IntArray) -> int:
        """An int8 tensor [rows, channels] into the image; its first word."""
        at = sum(len(part) for part in self.words)
        self.words.append(packing.pack_activations(tensor, self.acc.linear.t_in).view(np.int8))
        return at

    def load_const(self, tensor: IntArray, dst: int) -> int:
        """An int16 tensor [rows, channels] to res."""
        tiles = packing.tile_major(tensor, self.acc.linear.t_in)
        words = tiles.shape[0] * tiles.shape[1]
        pairs = packing.pad_to(tiles.astype("<i2").reshape(-1), 0, 2).view("<i4")
        return self.emit("load_const", dst=dst, words=words, params=self.constants(pairs))

    def put(self, tensor: IntArray, dst: int, space: str = "y") -> int:
        """A tensor [rows, channels] to y or heads, by way of the image and a linear step."""
        digits = _digits(tensor) if space == "y" else tensor.astype(np.int8)
        weight = np.kron(np.eye(tensor.shape[1]), [[127, 127, 127, 1]] if space == "y" else [[1]])
        n = len(weight)
        p = LinearParams(
            weight.astype(np.int8), np.zeros(n, np.int32), np.full(n, 1 << SHIFTS[0], np.int32),
            SHIFTS[0], space == "y", None, False,
        )  # fmt: skip
        rows, src = len(tensor), self.image(digits)
        return self.linear(p, src=src, dst=dst, n_tok=rows, n_list=rows, flags=1, space=space)

    def linear(self, p: LinearParams, space: str = "", **fields: int) -> int:
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
            table=0 if p.table is None else self.constants(p.table.astype(np.int8).view("<i4")),
            flags=flags,
            space=instruction_set().spaces[space or ("y" if p.wide else "act8")],
            **fields,
        )

    def encoded(self, **loop: int) -> tuple[IntArray, IntArray, packing.Beats]:
        """Program, params and weights; `loop`: fields of the first instruction."""
        isa, lanes = instruction_set(), self.acc.linear.t_in
        words = sum(len(part) for part in self.words)
        self.rows[0][1]["words"] = words
        fields = {
            **dict.fromkeys(isa.formats["loop"].fields, 0),
            "steps": len(self.rows),
            "stages": 1,
            "image_bytes": pad_up(IMAGE_HEADER + words * lanes, IMAGE_HEADER),
            "logit_bytes": IMAGE_HEADER,
        }
        rows = [isa.encode("loop", fields | loop), *(isa.encode(op, f) for op, f in self.rows)]
        none = np.zeros((0, lanes * self.acc.linear.w_rows), np.uint8)
        beats = np.concatenate([none, *self.beats])
        params = np.concatenate([np.zeros(0, np.int32), *self.values])
        return np.array(rows, np.int64).astype(np.int32), params, beats

    def run(
        self, sim: CSim, tasks: Sequence[int] = (0,), trace: int = -2, seed: int = 0, **loop: int
    ) -> CSimResult:
        """The image once for each of `tasks`; all steps are traced."""
        empty = np.zeros((0, self.acc.linear.t_in), np.int8)
        image = np.concatenate([empty, *self.words])
        images = np.repeat(image[None], len(tasks), axis=0)
        return sim.run(*self.encoded(**loop), images, tasks, trace, seed)


def _digits(tensor: IntArray) -> IntArray:
    """int16 [rows, channels] -> int8 [rows, 4*channels] that 127, 127, 127, 1 add up to it."""
    high = np.rint(tensor / 127).astype(np.int64)
    a = np.clip(high, -128, 127)
    b = np.clip(high - a, -128, 127)
    parts = [a, b, high - a - b, tensor - 127 * high]
    return np.stack(parts, axis=-1).reshape(len(tensor), -1).astype(np.int8)
