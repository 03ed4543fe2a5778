"""One operation of a kernel as streams: what goes in, and back from what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwmoe.plan import packing
from hwmoe.plan.accelerator import (
    AcceleratorConfig,
    AttentionConfig,
    LayerNormConfig,
    LinearConfig,
)
from hwmoe.plan.packing import ceil_div
from hwmoe.quant.kernels import AttentionParams, GateParams, LinearParams, NormParams
from hwmoe.quant.numerics import SHIFTS, IntArray
from hwmoe.sim.streams import StreamCase

SHORT = {"linear": "y", "attention": "o", "layernorm": "y", "gate": "y"}
"""The output port of each kernel, by short name."""


@dataclass(frozen=True, eq=False)
class LinearOp:
    """One command of the linear kernel.

    x int8 [n_tok, K]: always given, as it shapes the command; sent only if `load_x`.
    rows: the token list to gather (None: the first `n_list`, by default all rows).
    """

    x: IntArray
    params: LinearParams
    rows: IntArray | None = None
    n_list: int | None = None
    load_x: bool = True
    load_table: bool = True
    x_base: int = 0

    @property
    def listed(self) -> int:
        if self.rows is not None:
            return len(self.rows)
        return len(self.x) if self.n_list is None else self.n_list

    @property
    def selected(self) -> IntArray:
        """The rows the kernel computes, in order: int8 [n_list, K]."""
        return self.x[self.rows] if self.rows is not None else self.x[: self.listed]

    def command(self, cfg: LinearConfig) -> dict[str, int]:
        """Field values of the command beat."""
        p = self.params
        n_out, n_in = p.weight.shape
        flags = {
            "load_x": self.load_x,
            "gather": self.rows is not None,
            "gelu": p.table is not None,
            "load_table": p.table is not None and self.load_table,
            "wide": p.wide,
            "ternary": p.ternary,
        }
        return {
            "n_tok": len(self.x),
            "n_list": self.listed,
            "in_tiles": ceil_div(n_in, cfg.t_in),
            "out_tiles": ceil_div(n_out, cfg.t_out),
            "chunks": ceil_div(n_out, cfg.t_epi),
            "x_base": self.x_base,
            "shift": SHIFTS.index(p.shift),
            "flags": sum(flags[name] << bit for bit, name in enumerate(packing.LINEAR_FLAGS)),
        }

    def inputs(self, cfg: LinearConfig) -> dict[str, packing.Beats]:
        """Beats by short port name; a port the command does not read has none."""
        p = self.params
        beats = {"cmd": packing.pack_fields(packing.LINEAR_COMMAND, self.command(cfg))}
        if self.load_x:
            beats["x"] = packing.pack_activations(self.x, cfg.t_in)
        if self.rows is not None and len(self.rows):
            beats["list"] = packing.as_beats(self.rows.astype(np.uint16), len(self.rows))
        if p.table is not None and self.load_table:
            beats["table"] = p.table.view(np.uint8).reshape(256, 1)
        if self.listed:
            beats["w"] = packing.pack_weights(cfg, p.weight, p.ternary)
            beats["p"] = packing.pack_params(cfg, p.bias, p.multiplier)
        return beats

    def decode(self, cfg: LinearConfig, beats: packing.Beats) -> IntArray:
        """Output beats of this command -> int16 [n_list, N]."""
        if not self.listed:
            return np.zeros((0, len(self.params.weight)), np.int16)
        values = beats.reshape(-1).view("<i2").reshape(-1, self.listed, cfg.t_epi)
        return packing.from_tile_major(values, len(self.params.weight))

    def output_beats(self, cfg: LinearConfig) -> int:
        return self.listed * ceil_div(len(self.params.weight), cfg.t_epi)


@dataclass(frozen=True, eq=False)
class AttentionOp:
    """One command of the attention kernel: q, k, v int8 [heads, T, head_dim]."""

    q: IntArray
    k: IntArray
    v: IntArray
    params: AttentionParams

    def command(self, cfg: AttentionConfig) -> dict[str, int]:
        """Field values of the command beat."""
        heads, tokens, dim = self.q.shape
        return {
            "n_tok": tokens,
            "dim_tiles": ceil_div(dim, cfg.dim_lanes),
            "head_groups": ceil_div(heads, cfg.head_units),
            "score_shift": SHIFTS.index(self.params.score_shift),
            "out_shift": self.params.out_shift,
            "score_mult": self.params.score_mult,
            "out_mult": self.params.out_mult,
        }

    def inputs(self, cfg: AttentionConfig) -> dict[str, packing.Beats]:
        """Beats by short port name."""
        groups = ceil_div(self.q.shape[1], cfg.rows)
        return {
            "cmd": packing.pack_fields(packing.ATTENTION_COMMAND, self.command(cfg)),
            "q": packing.pack_heads(cfg, self.q, 1),
            "k": packing.pack_heads(cfg, self.k, groups),
            "v": packing.pack_heads(cfg, self.v, groups),
        }

    def decode(self, cfg: AttentionConfig, beats: packing.Beats) -> IntArray:
        """Output beats of this command -> int8 [heads, T, head_dim]."""
        return packing.unpack_heads(cfg, beats, *self.q.shape)

    def output_beats(self, cfg: AttentionConfig) -> int:
        heads, tokens, dim = self.q.shape
        return ceil_div(heads, cfg.head_units) * tokens * ceil_div(dim, cfg.dim_lanes)


@dataclass(frozen=True, eq=False)
class LayerNormOp:
    """One command of the LayerNorm kernel: x int16 [T, D]."""

    x: IntArray
    params: NormParams

    def command(self, cfg: LayerNormConfig) -> dict[str, int]:
        """Field values of the command beat."""
        tokens, dim = self.x.shape
        return {
            "n_tok": tokens,
            "tiles": ceil_div(dim, cfg.lanes),
            "dim": dim,
            "shift": SHIFTS.index(self.params.shift),
            "eps": self.params.eps,
        }

    def inputs(self, cfg: LayerNormConfig) -> dict[str, packing.Beats]:
        """Beats by short port name."""
        return {
            "cmd": packing.pack_fields(packing.LAYERNORM_COMMAND, self.command(cfg)),
            "x": packing.pack_tokens(self.x, cfg.lanes),
            "p": packing.pack_norm_params(self.params.gain, self.params.bias, cfg.lanes),
        }

    def decode(self, beats: packing.Beats) -> IntArray:
        """Output beats of this command -> int8 [T, D]."""
        return packing.unpack_tokens(beats, *self.x.shape)

    def output_beats(self, cfg: LayerNormConfig) -> int:
        return len(self.x) * ceil_div(self.x.shape[1], cfg.lanes)


@dataclass(frozen=True, eq=False)
class GateOp:
    """One command of the gate kernel: logits int16 [T, experts]."""

    logits: IntArray
    params: GateParams

    def command(self) -> dict[str, int]:
        """Field values of the command beat."""
        return {
            "n_tok": len(self.logits),
            "experts": self.logits.shape[1],
            "k": self.params.top_k,
            "shift": SHIFTS.index(self.params.score_shift),
            "scores": packing.GATE_SCORES.index(self.params.scores),
            "score_mult": self.params.score_mult,
        }

    def inputs(self) -> dict[str, packing.Beats]:
        """Beats by short port name."""
        return {
            "cmd": packing.pack_fields(packing.GATE_COMMAND, self.command()),
            "x": packing.as_beats(self.logits.astype(np.int16), self.logits.size),
        }

    def decode(self, beats: packing.Beats) -> tuple[IntArray, IntArray]:
        """Output beats of this command -> experts and scores, uint16 [T, k] each."""
        pairs = beats.reshape(-1).view("<u2").reshape(len(self.logits), -1, 2)
        return pairs[..., 0], pairs[..., 1]

    def output_beats(self) -> int:
        return len(self.logits) * self.params.top_k


def linear_widths(cfg: LinearConfig) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes a beat of each input and output port of `hwmoe_linear`, by short name."""
    inputs = dict(cmd=16, x=cfg.t_in, list=2, table=1, w=cfg.t_in * cfg.w_rows, p=8 * cfg.t_epi)
    return inputs, {"y": 2 * cfg.t_epi, "status": 4}


def attention_widths(cfg: AttentionConfig) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes a beat of each input and output port of `hwmoe_attention`, by short name."""
    width = cfg.head_units * cfg.dim_lanes
    return dict(cmd=16, q=width, k=width, v=width), {"o": width, "status": 4}


def layernorm_widths(cfg: LayerNormConfig) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes a beat of each input and output port of `hwmoe_layernorm`, by short name."""
    return dict(cmd=16, x=2 * cfg.lanes, p=8 * cfg.lanes), {"y": cfg.lanes, "status": 4}


def gate_widths() -> tuple[dict[str, int], dict[str, int]]:
    """Bytes a beat of each input and output port of `hwmoe_gate`, by short name."""
    return dict(cmd=16, x=2), {"y": 4, "status": 4}


Widths = tuple[dict[str, int], dict[str, int]]


def widths_of(kernel: str, acc: AcceleratorConfig) -> Widths:
    """Of "linear" or "attention": bytes a beat of each input and output port, by short name."""
    return linear_widths(acc.linear) if kernel == "linear" else attention_widths(acc.attention)


def axis_ports(widths: Widths) -> Widths:
    """The same by full port name, as `CompiledKernel` takes them."""
    inputs, outputs = widths
    return (
        {f"s_axis_{port}": width for port, width in inputs.items()},
        {f"m_axis_{port}": width for port, width in outputs.items()},
    )


def join(
    kernel: str,
    name: str,
    commands: Sequence[Mapping[str, packing.Beats]],
    widths: Mapping[str, int],
    beats: int,
) -> StreamCase:
    """Commands back to back as one case: their beats by short port name, `beats` come back.

    `widths`: bytes a beat of every input port; a port that no command uses gets no beat.
    """
    inputs = {
        f"s_axis_{port}": np.concatenate(
            [np.zeros((0, width), np.uint8), *(c[port] for c in commands if port in c)]
        )
        for port, width in widths.items()
    }
    outputs = {f"m_axis_{SHORT[kernel]}": beats, "m_axis_status": len(commands)}
    return StreamCase(name, inputs, outputs)


def linear_case(cfg: LinearConfig, name: str, ops: Sequence[LinearOp]) -> StreamCase:
    """Commands back to back as one case of `hwmoe_linear`."""
    beats = sum(op.output_beats(cfg) for op in ops)
    return join("linear", name, [op.inputs(cfg) for op in ops], linear_widths(cfg)[0], beats)


def attention_case(cfg: AttentionConfig, name: str, ops: Sequence[AttentionOp]) -> StreamCase:
    """Commands back to back as one case of `hwmoe_attention`."""
    beats = sum(op.output_beats(cfg) for op in ops)
    widths = attention_widths(cfg)[0]
    return join("attention", name, [op.inputs(cfg) for op in ops], widths, beats)


def layernorm_case(cfg: LayerNormConfig, name: str, ops: Sequence[LayerNormOp]) -> StreamCase:
    """Commands back to back as one case of `hwmoe_layernorm`."""
    beats = sum(op.output_beats(cfg) for op in ops)
    widths = layernorm_widths(cfg)[0]
    return join("layernorm", name, [op.inputs(cfg) for op in ops], widths, beats)


def gate_case(name: str, ops: Sequence[GateOp]) -> StreamCase:
    """Commands back to back as one case of `hwmoe_gate`."""
    beats = sum(op.output_beats() for op in ops)
    return join("gate", name, [op.inputs() for op in ops], gate_widths()[0], beats)
