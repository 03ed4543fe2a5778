"""Layouts of docs/kernels.md: what goes in comes out, and every byte is where it must be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmoe.plan import packing
from hwmoe.plan.accelerator import AttentionConfig, LinearConfig
from hwmoe.plan.program import HeadLayout, Result

FAST = settings(max_examples=40, deadline=None)
SIZE = st.integers(1, 19)
SEED = st.integers(0, 2**32 - 1)
LINEAR = LinearConfig(t_in=6, t_out=12, t_epi=3, w_rows=3)


@given(SIZE, SIZE, SIZE, SEED)
@FAST
def test_tile_major_and_back(rows: int, channels: int, lanes: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(-128, 128, (rows, channels))
    tiles = packing.tile_major(x, lanes)
    for tile, row, lane in np.ndindex(tiles.shape):
        channel = tile * lanes + lane
        assert tiles[tile, row, lane] == (x[row, channel] if channel < channels else 0)
    assert np.array_equal(packing.from_tile_major(tiles, channels), x)


def test_activations_lane_0_in_byte_0() -> None:
    beats = packing.pack_activations(np.array([[1, -1, 3], [4, 5, 6]]), 2)
    assert beats.tolist() == [[1, 255], [4, 5], [3, 0], [6, 0]]


@given(SIZE, SIZE, SEED, st.booleans())
@FAST
def test_weights(n: int, k: int, seed: int, ternary: bool) -> None:
    """Field r*t_in + l of a beat holds row r, lane l; rows run on from beat to beat."""
    limit = 1 if ternary else 127
    weight = np.random.default_rng(seed).integers(-limit, limit + 1, (n, k)).astype(np.int8)
    cfg = LINEAR
    rows = cfg.w_rows * (4 if ternary else 1)
    out_tiles, in_tiles = -(-n // cfg.t_out), -(-k // cfg.t_in)
    beats = packing.pack_weights(cfg, weight, ternary)
    assert beats.shape == (out_tiles * in_tiles * cfg.t_out // rows, cfg.t_in * cfg.w_rows)
    bits = 2 if ternary else 8
    found = np.zeros((out_tiles * cfg.t_out, in_tiles * cfg.t_in), int)
    for at, beat in enumerate(beats.tolist()):
        word = int.from_bytes(bytes(beat), "little")
        tile, group = divmod(at, cfg.t_out // rows)
        o, i = divmod(tile, in_tiles)
        for r in range(rows):
            for lane in range(cfg.t_in):
                code = word >> (bits * (r * cfg.t_in + lane)) & (2**bits - 1)
                value = code - 2**bits if code >> (bits - 1) else code
                found[o * cfg.t_out + group * rows + r, i * cfg.t_in + lane] = value
    assert np.array_equal(found[:n, :k], weight)
    found[:n, :k] = 0
    assert not found.any()


@given(st.integers(1, 10), SEED)
@FAST
def test_params(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bias = rng.integers(-(2**26), 2**26, n).astype(np.int32)
    multiplier = rng.integers(0, 2**17, n).astype(np.int32)
    beats = packing.pack_params(LINEAR, bias, multiplier)
    assert beats.shape == (-(-n // 3), 3 * 8)
    data = beats.tobytes()
    for channel in range(len(beats) * 3):
        entry = int.from_bytes(data[8 * channel : 8 * channel + 8], "little")
        low, high = entry & 0xFFFFFFFF, entry >> 32
        want = (int(bias[channel]), int(multiplier[channel])) if channel < n else (0, 0)
        assert (low - (low >> 31 << 32), high) == want


@given(SIZE, st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), SEED)
@FAST
def test_heads(tokens: int, dim: int, heads: int, units: int, seed: int) -> None:
    cfg = AttentionConfig(rows=2, dim_lanes=4, head_units=units)
    x = np.random.default_rng(seed).integers(-128, 128, (heads, tokens, dim)).astype(np.int8)
    once = packing.pack_heads(cfg, x, 1)
    assert np.array_equal(packing.unpack_heads(cfg, once, heads, tokens, dim), x)
    tiles, groups = -(-dim // 4), -(-heads // units)
    twice = packing.pack_heads(cfg, x, 2).reshape(groups, 2, tokens, tiles, units, 4)
    assert np.array_equal(twice[:, 0], twice[:, 1])
    for head, token, d in np.ndindex(heads, tokens, dim):
        byte = twice[head // units, 0, token, d // 4, head % units, d % 4]
        assert int(byte) == int(x[head, token, d]) & 255


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.data())
@FAST
def test_fields_lie_one_after_the_other(widths: list[int], data: st.DataObject) -> None:
    widths.append(-sum(widths) % 8 or 8)
    fields = tuple((f"f{i}", width) for i, width in enumerate(widths))
    values = {name: data.draw(st.integers(0, 2**width - 1)) for name, width in fields}
    word = int.from_bytes(packing.pack_fields(fields, values).tobytes(), "little")
    for name, width in fields:
        assert word & (2**width - 1) == values[name]
        word >>= width
    assert word == 0


@pytest.mark.parametrize("value", [-1, 1 << 16])
def test_a_value_too_large_for_its_field(value: int) -> None:
    with pytest.raises(ValueError, match=f"n_list={value} does not fit 16 bits"):
        packing.pack_fields(packing.LINEAR_COMMAND, {"n_list": value})
    packing.pack_fields(packing.LINEAR_COMMAND, {"n_list": (1 << 16) - 1})


def test_commands_are_those_of_the_document() -> None:
    for fields in (packing.LINEAR_COMMAND, packing.ATTENTION_COMMAND):
        assert sum(bits for _, bits in fields) == 128
    beat = packing.pack_fields(packing.LINEAR_COMMAND, {"x_base": 0x1234, "shift": 2, "flags": 33})
    assert beat[0, 10:14].tolist() == [0x34, 0x12, 2, 33]
    beat = packing.pack_fields(
        packing.ATTENTION_COMMAND,
        {"score_shift": 3, "out_shift": 24, "score_mult": 2**17 - 1, "out_mult": 2**16 - 1},
    )
    assert beat[0, 6:].tolist() == [3, 24, 255, 255, 1, 0, 255, 255, 0, 0]


def test_stored_bytes() -> None:
    assert packing.stored_bytes(np.zeros((3, 3)), False) == 9
    assert packing.stored_bytes(np.zeros((3, 3)), True) == 3


@given(*(st.integers(1, n) for n in (5, 9, 4, 3, 3, 9)))
@FAST
def test_results_in_the_order_of_the_attention_kernel(
    heads: int, dim: int, dim_lanes: int, units: int, regions: int, lanes: int
) -> None:
    channels = regions * heads * dim
    layout = HeadLayout(heads, dim, dim_lanes, units)
    result = Result("heads", 0, 2, channels, None, layout, regions)
    x = np.arange(1, 1 + 2 * channels).reshape(2, channels)
    padded = result.padded(x, lanes)
    assert padded.shape[1] % (regions * lanes) == 0
    assert np.array_equal(result.plain(padded, lanes), x)
    assert np.count_nonzero(padded) == x.size
    cfg = AttentionConfig(dim_lanes=dim_lanes, head_units=units)
    for region in range(regions):
        part = padded.reshape(2, regions, -1)[:, region, : layout.width]
        own = x.reshape(2, regions, heads, dim)[:, region].transpose(1, 0, 2)
        beats = packing.pack_heads(cfg, own.astype(np.int8), 1).view(np.int8)
        shape = (layout.groups, 2, layout.dim_tiles * units * dim_lanes)
        there = beats.reshape(shape).transpose(1, 0, 2).reshape(2, -1)
        assert np.array_equal(part.astype(np.int8), there)
