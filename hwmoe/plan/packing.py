"""Tensors into stream beats and memory words: the layouts of docs/kernels.md.

Every function returns uint8 [beats, bytes], byte 0 in the lowest bits of the beat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmoe.model.config import GateScores
from hwmoe.plan.accelerator import AttentionConfig, LinearConfig

Beats = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.integer[Any]]

# (field, bits) from bit 0 up; the HLS headers and the SystemVerilog are rendered from these.
LINEAR_COMMAND = (
    ("n_tok", 16),
    ("n_list", 16),
    ("in_tiles", 16),
    ("out_tiles", 16),
    ("chunks", 16),
    ("x_base", 16),
    ("shift", 8),
    ("flags", 8),
    ("unit", 16),  # for the HLS top, which has one kernel for both engines: 1 is `expert`
)
LINEAR_FLAGS = ("load_x", "gather", "gelu", "load_table", "wide", "ternary")
ATTENTION_COMMAND = (
    ("n_tok", 16),
    ("dim_tiles", 16),
    ("head_groups", 16),
    ("score_shift", 8),
    ("out_shift", 8),
    ("score_mult", 32),
    ("out_mult", 32),
)
LAYERNORM_COMMAND = (
    ("n_tok", 16),
    ("tiles", 16),
    ("dim", 16),
    ("shift", 8),
    ("reserved", 8),
    ("eps", 64),
)
GATE_COMMAND = (
    ("n_tok", 16),
    ("experts", 16),
    ("k", 8),
    ("shift", 8),
    ("scores", 8),
    ("reserved", 8),
    ("score_mult", 32),
    ("reserved_2", 32),
)
GATE_SCORES: tuple[GateScores, ...] = ("topk", "all")
"""By their number in instructions and commands."""


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def log2_ceil(n: int) -> int:
    """Bits that number n things; 0 for one."""
    return (n - 1).bit_length()


def pad_up(size: int, multiple: int) -> int:
    return ceil_div(size, multiple) * multiple


def pad_to(array: Ints, axis: int, multiple: int) -> Ints:
    """Zeros appended along `axis` up to a multiple."""
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, -array.shape[axis] % multiple)
    return np.pad(array, widths)


def as_beats(array: Ints, beats: int) -> Beats:
    """Reinterpret little-endian integers as `beats` rows of bytes."""
    data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return data.reshape(-1).view(np.uint8).reshape(beats, -1)


def pack_fields(fields: tuple[tuple[str, int], ...], values: Mapping[str, int]) -> Beats:
    """One command beat; a value that does not fit its field is an error."""
    word = position = 0
    for name, bits in fields:
        value = values.get(name, 0)
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name}={value} does not fit {bits} bits")
        word |= value << position
        position += bits
    return np.frombuffer(word.to_bytes(position // 8, "little"), np.uint8).reshape(1, -1).copy()


def tile_major(x: Ints, lanes: int) -> Ints:
    """[T, C] -> [tiles, T, lanes]: for each tile of lanes, all tokens."""
    padded = pad_to(x, 1, lanes)
    return padded.reshape(len(x), -1, lanes).transpose(1, 0, 2)


def from_tile_major(tiles: Ints, channels: int) -> Ints:
    """The inverse of `tile_major`, without the padding."""
    return tiles.transpose(1, 0, 2).reshape(tiles.shape[1], -1)[:, :channels]


def pack_activations(x: Ints, lanes: int) -> Beats:
    """int8 [T, C] -> a beat for each tile and token."""
    tiles = tile_major(x.astype(np.int8), lanes)
    return as_beats(tiles, tiles.shape[0] * tiles.shape[1])


def pack_weights(cfg: LinearConfig, weight: Ints, ternary: bool) -> Beats:
    """int8 [N, K] -> beats, output tile by output tile, input tile by input tile."""
    padded = pad_to(pad_to(weight.astype(np.int8), 0, cfg.t_out), 1, cfg.t_in)
    tiles = padded.reshape(-1, cfg.t_out, padded.shape[1] // cfg.t_in, cfg.t_in)
    flat = np.ascontiguousarray(tiles.transpose(0, 2, 1, 3)).reshape(-1)
    beat = cfg.t_in * cfg.w_rows
    if not ternary:
        return flat.view(np.uint8).reshape(-1, beat)
    codes = (flat & 3).astype(np.uint8).reshape(-1, 4)
    packed = codes[:, 0] | codes[:, 1] << 2 | codes[:, 2] << 4 | codes[:, 3] << 6
    return packed.astype(np.uint8).reshape(-1, beat)


def stored_bytes(weight: Ints, ternary: bool) -> int:
    """Bytes of these weights in off-chip memory, without the padding to tiles."""
    return ceil_div(weight.size, 4) if ternary else weight.size


def pack_params(cfg: LinearConfig, bias: Ints, multiplier: Ints) -> Beats:
    """bias and multiplier int32 [N] -> 64 bits a channel, `t_epi` channels a beat."""
    both = np.stack([bias, multiplier], axis=1).astype("<i4")
    padded = pad_to(both, 0, cfg.t_epi)
    return as_beats(padded, len(padded) // cfg.t_epi)


def pack_tokens(x: Ints, lanes: int) -> Beats:
    """int16 [T, D] -> a beat for each token and tile: token after token."""
    padded = pad_to(x.astype("<i2"), 1, lanes)
    return as_beats(padded, padded.size // lanes)


def unpack_tokens(beats: Beats, tokens: int, channels: int) -> Ints:
    """Beats of int8 in the order of `pack_tokens` -> int8 [T, D]."""
    return beats.view(np.int8).reshape(tokens, -1)[:, :channels]


def pack_norm_params(gain: Ints, bias: Ints, lanes: int) -> Beats:
    """gain and bias int32 [D] -> 64 bits a channel, the gain lowest, `lanes` channels a beat."""
    both = pad_to(np.stack([gain, bias], axis=1).astype("<i4"), 0, lanes)
    return as_beats(both, len(both) // lanes)


def pack_heads(cfg: AttentionConfig, tensor: Ints, repeat: int) -> Beats:
    """int8 [heads, T, d] -> beats: head groups, each `repeat` times: tokens, dim tiles, units."""
    padded = pad_to(pad_to(tensor, 0, cfg.head_units), 2, cfg.dim_lanes)
    _, tokens, dim = padded.shape
    split = padded.reshape(-1, cfg.head_units, tokens, dim // cfg.dim_lanes, cfg.dim_lanes)
    ordered = split.transpose(0, 2, 3, 1, 4)[:, None].repeat(repeat, axis=1)
    width = cfg.head_units * cfg.dim_lanes
    return np.ascontiguousarray(ordered, np.int8).reshape(-1, width).view(np.uint8)


def unpack_heads(cfg: AttentionConfig, beats: Beats, heads: int, tokens: int, dim: int) -> Ints:
    """Beats of `pack_heads` (sent once) -> int8 [heads, T, d]."""
    tiles = ceil_div(dim, cfg.dim_lanes)
    values = beats.view(np.int8).reshape(-1, tokens, tiles, cfg.head_units, cfg.dim_lanes)
    whole = values.transpose(0, 3, 1, 2, 4).reshape(-1, tokens, tiles * cfg.dim_lanes)
    return whole[:heads, :, :dim]
