"""Programs on the HLS top: every instruction against the integer reference, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hls_cases import CONFIGS, Assembler, attention_reference, linear_params

from hwmoe.errors import HwmoeError
from hwmoe.plan import packing
from hwmoe.plan.isa import instruction_set
from hwmoe.quant import kernels, numerics
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.numerics import INT8, INT16, SHIFTS, IntArray, Saturations
from hwmoe.sim.csim import ALL_IMAGES, CSim, CSimResult, TraceRecord
from hwmoe.sim.kernel_cases import AttentionOp

Make = Callable[[str], CSim]
LIST = instruction_set().list_modes
LOAD_X, LOAD_TABLE = 1, 8


def run(sim: CSim, program: Assembler, images: IntArray | None = None) -> CSimResult:
    program.emit("end")
    none = np.zeros((1, 0, sim.acc.linear.t_in), np.int8)
    return sim.run(*program.encoded(), none if images is None else images, trace=ALL_IMAGES)


def tensor(record: TraceRecord, rows: int, channels: int) -> IntArray:
    """[rows, channels] of a record; the lanes of padding have to be 0."""
    tiles = record.values.reshape(-1, rows, record.values.shape[1])
    whole = packing.from_tile_major(tiles, tiles.shape[0] * tiles.shape[2])
    assert not whole[:, channels:].any()
    return whole[:, :channels]


def int16(rng: np.random.Generator, *shape: int) -> IntArray:
    return rng.integers(-32768, 32768, shape).astype(np.int16)


def check_layernorm(sim: CSim) -> None:
    """Random rows, rows of one value, extremes; a part of the rows; each shift."""
    rng, dim = np.random.default_rng(1), 23
    x = int16(rng, 9, dim)
    x[1], x[2], x[3], x[4] = 0, 32767, rng.choice([-32768, 32767], dim), np.arange(dim) // 22
    cases = [(0, 9, 1), (8, 1, 1 << 40), (2, 5, 12345), (0, 9, (1 << 33) + 7)]
    program, expected = Assembler(sim.acc), []
    program.load_const(x, 3)
    for shift, (first, count, eps) in zip(SHIFTS, cases, strict=True):
        gain = rng.integers(-(1 << 17) + 1, 1 << 17, dim) >> max(0, 24 - shift) // 2
        bias = rng.integers(-(1 << 31), 1 << 31, dim) >> (24 - shift)
        step = program.emit(
            "layernorm", src=3, n_tok=9, first=first, count=count, dim=dim, dst=5,
            params=program.constants(np.concatenate([gain, bias])), shift=SHIFTS.index(shift),
            eps_low=int(np.uint32(eps & 0xFFFFFFFF).astype(np.int32)), eps_high=eps >> 32,
        )  # fmt: skip
        sat = Saturations()
        wide = numerics.layernorm(x[first : first + count], gain, bias, eps, shift)
        expected.append((step, numerics.saturate(wide, INT8, "ln", sat), sat.total))
    result = run(sim, program)
    for step, y, clipped in expected:
        np.testing.assert_array_equal(tensor(result.trace[step], len(y), dim), y)
        assert result.saturations[step] == clipped
    assert result.saturations.sum() > 0


def check_gate(sim: CSim) -> None:
    """Ties, all experts chosen, equal logits everywhere, large distances."""
    rng, tokens = np.random.default_rng(2), 19
    program, expected = Assembler(sim.acc), []
    for experts, k, spread in [(7, 2, 3), (8, 8, 40000), (3, 3, 1), (5, 1, 40000), (8, 4, 500)]:
        logits = np.clip(rng.integers(-spread, spread + 1, (tokens, experts)), *INT16)
        logits[0] = 7
        mult, shift = (1 << 17) - 1, SHIFTS[experts % 4]
        program.load_const(logits, 0)
        step = program.emit(
            "gate", n_tok=tokens, experts=experts, top_k=k, mult=mult, shift=SHIFTS.index(shift)
        )
        chosen = numerics.top_k(logits, k)
        scores = numerics.gate_scores(np.take_along_axis(logits, chosen, -1), mult, shift)
        expected.append((step, experts, chosen, scores))
    result = run(sim, program)
    for step, experts, chosen, scores in expected:
        lists = result.trace[step].lists
        assert len(lists) == experts
        for expert, (rows, given) in enumerate(lists):
            token, place = np.nonzero(chosen == expert)
            np.testing.assert_array_equal(rows, token)
            np.testing.assert_array_equal(given, scores[token, place])


Expected = dict[int, tuple[IntArray, int]]


def check_experts(sim: CSim) -> None:
    """Gate, two linear steps and an addition for each expert; one expert gets no token."""
    program, expected, image = expert_program(sim)
    assert len(expected) == 9
    result = run(sim, program, image)
    records = {record.step: record for record in result.trace}
    for step, (y, clipped) in expected.items():
        np.testing.assert_array_equal(tensor(records[step], *y.shape), y)
        assert result.saturations[step] == clipped


def emit_expert(
    program: Assembler, fc1: LinearParams, fc2: LinearParams, expert: int, tokens: int, flags: int
) -> tuple[int, int, int]:
    """fc1, fc2 and the addition of one expert; their steps."""
    tiles = packing.ceil_div(fc1.weight.shape[1], program.acc.linear.t_in)
    first = program.linear(
        fc1, src=9, dst=150, n_tok=tokens, flags=flags, list_mode=LIST["gather"], expert=expert
    )
    second = program.linear(
        fc2, src=150, dst=300, x_base=tiles * tokens, flags=LOAD_X, list_mode=LIST["listed"],
        expert=expert,
    )  # fmt: skip
    add = program.emit(
        "add", n_tok=tokens, tiles=tiles, src=300, count=tokens, list_mode=LIST["listed"],
        expert=expert,
    )  # fmt: skip
    return first, second, add


def expert_program(sim: CSim) -> tuple[Assembler, Expected, IntArray]:
    """The program, the result and saturations of its steps, and an image."""
    rng, tokens, dim, hidden, experts = np.random.default_rng(3), 11, 20, 13, 4
    x = rng.integers(-128, 128, (tokens, dim)).astype(np.int8)
    res = int16(rng, tokens, dim)
    logits = rng.integers(-3, 3, (tokens, experts)).astype(np.int16)
    logits[:, 0] = -30000  # its list stays empty, yet it is the one that loads x and the table
    fc1 = [linear_params(rng, hidden, dim, table=True) for _ in range(experts)]
    table = np.roll(np.arange(-128, 128), 128).astype(np.int8) // 2
    fc1 = [replace(p, table=table) for p in fc1]  # 0 stays 0, as in GELU: padding remains 0
    fc2 = [linear_params(rng, dim, hidden, wide=True) for _ in range(experts)]
    lanes = sim.acc.linear.t_in
    words = packing.ceil_div(dim, lanes) * tokens
    program, expected = Assembler(sim.acc), Expected()
    program.emit("load_image", dst=9, words=words)
    program.load_const(res, 0)
    program.load_const(logits, 300)
    program.emit("gate", src=300, n_tok=tokens, experts=experts, top_k=2, mult=9000, shift=1)
    chosen = numerics.top_k(logits, 2)
    scores = numerics.gate_scores(np.take_along_axis(logits, chosen, -1), 9000, SHIFTS[1])
    for e in range(experts):
        rows, place = np.nonzero(chosen == e)
        loads = (LOAD_X | LOAD_TABLE) if e == 0 else 0
        first, second, add = emit_expert(program, fc1[e], fc2[e], e, tokens, loads)
        if not len(rows):
            continue
        counts = Saturations()
        h = kernels.linear(x[rows], fc1[e], "1", counts)[1]
        y = kernels.linear(h, fc2[e], "2", counts)[1]
        weighted = numerics.apply_score(y, scores[rows, place][:, None])
        res[rows] = numerics.saturate(res[rows] + weighted, INT16, "add", counts)
        expected[first] = (h, counts["1"])
        expected[second] = (y, counts["2"])
        expected[add] = (res.copy(), counts["add"])
    return program, expected, packing.pack_activations(x, lanes).view(np.int8)[None]


@pytest.mark.parametrize("name", CONFIGS)
def test_layernorm(csim: Make, name: str) -> None:
    check_layernorm(csim(name))


@pytest.mark.parametrize("name", CONFIGS)
def test_gate(csim: Make, name: str) -> None:
    check_gate(csim(name))


@pytest.mark.parametrize("name", CONFIGS)
def test_experts(csim: Make, name: str) -> None:
    check_experts(csim(name))


def test_exact_types(exact: CSim) -> None:
    check_layernorm(exact)
    check_gate(exact)
    check_experts(exact)


@pytest.mark.parametrize("name", CONFIGS)
def test_residual_additions_saturate(csim: Make, name: str) -> None:
    rng, sim = np.random.default_rng(4), csim(name)
    res, y = int16(rng, 10, 14), int16(rng, 4, 14)
    program = Assembler(sim.acc)
    program.load_const(res, 7)
    program.load_const(y, 200)
    tiles = packing.ceil_div(14, sim.acc.linear.t_in)
    step = program.emit("add", dst=7, n_tok=10, tiles=tiles, src=200, first=5, count=4)
    result = run(sim, program)
    sat = Saturations()
    total = res.astype(np.int64)
    total[5:9] += y
    expected = numerics.saturate(total, INT16, "add", sat)
    np.testing.assert_array_equal(tensor(result.trace[step], 10, 14), expected)
    assert result.saturations[step] == sat.total > 0


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("heads", [1, 3, 4])
def test_attention_between_the_memories(csim: Make, name: str, heads: int) -> None:
    rng, sim, tokens = np.random.default_rng(5), csim(name), 9
    lanes, dim = sim.acc.linear.t_in, 2 * sim.acc.attention.dim_lanes
    q, k, v = (rng.integers(-128, 128, (heads, tokens, dim)).astype(np.int8) for _ in "qkv")
    params = kernels.AttentionParams(900, SHIFTS[2], 50000, 14)
    flat = [a.transpose(1, 0, 2).reshape(tokens, -1) for a in (q, k, v)]
    image = np.concatenate([packing.pack_activations(a, lanes).view(np.int8) for a in flat])
    words = len(image) // 3
    program = Assembler(sim.acc)
    program.emit("load_image", dst=1, words=len(image))
    step = program.emit(
        "attention", q=1, k=1 + words, v=1 + 2 * words, dst=1, n_tok=tokens, heads=heads,
        dim_tiles=2, score_mult=params.score_mult, out_mult=params.out_mult, shifts=2 + 256 * 14,
    )  # fmt: skip
    result = run(sim, program, image[None])
    expected, clipped = attention_reference(AttentionOp(q, k, v, params))
    whole = expected.transpose(1, 0, 2).reshape(tokens, -1)
    np.testing.assert_array_equal(tensor(result.trace[step], tokens, heads * dim), whole)
    assert result.saturations[step] == clipped


@pytest.mark.parametrize("name", CONFIGS)
def test_images_one_after_the_other(csim: Make, name: str) -> None:
    """Two entries in one program; every image has its own logits, saturations add up."""
    rng, sim, dim, classes = np.random.default_rng(6), csim(name), 10, 7
    x = rng.integers(-128, 128, (5, 1, dim)).astype(np.int8)
    heads = [linear_params(rng, classes, dim, wide=True) for _ in range(2)]
    lanes = sim.acc.linear.t_in
    program, entries, steps = Assembler(sim.acc), [], []
    for head in heads:
        words = packing.ceil_div(dim, lanes)
        entries.append(program.emit("load_image", dst=0, words=words))
        steps.append(program.linear(head, src=0, n_tok=1, n_list=1, dst=2, flags=LOAD_X))
        program.emit("store", src=2, n_out=classes)
        program.emit("end")
    images = np.stack([packing.pack_activations(a, lanes).view(np.int8) for a in x])
    for entry, step, head in zip(entries, steps, heads, strict=True):
        result = sim.run(*program.encoded(), images, entry=entry, trace=3)
        sat = Saturations()
        expected = kernels.linear(x[:, 0], head, "head", sat)[1]
        np.testing.assert_array_equal(result.logits, expected)
        assert result.saturations[step] == result.saturations.sum() == sat.total
        assert {record.image for record in result.trace} == {3}


def test_bad_programs_are_refused(csim: Make) -> None:
    sim = csim("plain")
    empty = np.zeros((1, 0, 16), np.int8)
    program = Assembler(sim.acc)
    program.emit("layernorm", src=510, n_tok=9, count=9, dim=16)
    with pytest.raises(HwmoeError, match="no `end`"):
        sim.run(*program.encoded(), empty)
    with pytest.raises(HwmoeError, match="step 0: layernorm: src"):
        run(sim, program)
    short = Assembler(sim.acc)
    short.emit("load_const", words=4)
    with pytest.raises(HwmoeError, match="step 0: load_const: params"):
        run(sim, short)
    with pytest.raises(HwmoeError, match="images of"):
        sim.run(*short.encoded(), np.zeros((1, 3, 16), np.int8))
