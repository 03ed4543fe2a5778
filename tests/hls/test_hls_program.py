"""Programs on the HLS top: every instruction against the integer reference, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hls_cases import MACHINES, Assembler, attention_reference, int16, linear_params

from hwmoe.plan import packing
from hwmoe.plan.isa import instruction_set
from hwmoe.plan.packing import GATE_SCORES
from hwmoe.plan.program import HeadLayout
from hwmoe.quant import kernels, numerics
from hwmoe.quant.kernels import LinearParams
from hwmoe.quant.numerics import INT8, INT16, SHIFTS, IntArray, Saturations
from hwmoe.sim.csim import CSim, TraceRecord
from hwmoe.sim.kernel_cases import AttentionOp

Make = Callable[[str], CSim]
LIST = instruction_set().list_modes
Y = instruction_set().spaces["y"]
LOAD_X, LOAD_TABLE, SLOT = 1, 8, 2
TOKENS = 11  # of the program with experts


def tensor(record: TraceRecord, rows: int, channels: int) -> IntArray:
    """[rows, channels] of a record; the lanes of padding have to be 0."""
    tiles = record.values.reshape(-1, rows, record.values.shape[1])
    whole = packing.from_tile_major(tiles, tiles.shape[0] * tiles.shape[2])
    assert not whole[:, channels:].any()
    return whole[:, :channels]


def check_layernorm(sim: CSim) -> None:
    """Random rows, rows of one value, extremes; a part of the rows; each shift."""
    rng, dim, lanes = np.random.default_rng(1), 23, sim.acc.linear.t_in
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
            params=program.constants(packing.pad_to(np.stack([gain, bias], 1), 0, lanes)),
            shift=SHIFTS.index(shift), eps_low=eps & 0xFFFFFFFF, eps_high=eps >> 32,
        )  # fmt: skip
        sat = Saturations()
        wide = numerics.layernorm(x[first : first + count], gain, bias, eps, shift)
        expected.append((step, numerics.saturate(wide, INT8, "ln", sat), sat.total))
    result = program.run(sim)
    for step, y, clipped in expected:
        np.testing.assert_array_equal(tensor(result.trace[step], len(y), dim), y)
        assert result.saturations[step] == clipped
    assert result.saturations.sum() > 0


def check_gate(sim: CSim) -> None:
    """Ties, all experts chosen, equal logits everywhere, large distances."""
    rng, tokens = np.random.default_rng(2), 19
    program, expected = Assembler(sim.acc), []
    shapes = [(7, 2, 3), (8, 8, 40000), (3, 3, 1), (5, 1, 40000), (8, 4, 500)]
    kinds = GATE_SCORES[: 1 + sim.acc.gate.all_scores]
    for (experts, k, spread), scores_of in product(shapes, kinds):
        logits = np.clip(rng.integers(-spread, spread + 1, (tokens, experts)), *INT16)
        logits[0] = 7
        mult, shift = (1 << 17) - 1, SHIFTS[experts % 4]
        program.put(logits, 5)
        step = program.emit(
            "gate", src=5, n_tok=tokens, experts=experts, top_k=k, mult=mult,
            shift=SHIFTS.index(shift), slot=experts % 3, scores=GATE_SCORES.index(scores_of),
        )  # fmt: skip
        chosen = numerics.top_k(logits, k)
        over = logits if scores_of == "all" else None
        scores = numerics.gate_scores(np.take_along_axis(logits, chosen, -1), mult, shift, over)
        expected.append((step, experts, chosen, scores))
    result = program.run(sim)
    for step, experts, chosen, scores in expected:
        assert result.trace[step].base == experts % 3
        lists = result.trace[step].lists
        assert len(lists) == experts
        for expert, (rows, given) in enumerate(lists):
            token, place = np.nonzero(chosen == expert)
            np.testing.assert_array_equal(rows, token)
            np.testing.assert_array_equal(given, scores[token, place])


Expected = dict[int, tuple[IntArray, int]]


def check_experts(sim: CSim) -> None:
    """Gate, two linear steps and an addition for each expert; one expert gets no token."""
    program, expected = expert_program(sim)
    assert len(expected) == 9
    result = program.run(sim)
    records = {record.step: record for record in result.trace}
    memories = {records[step].space for step in expected}
    assert memories == {"act8", "y", "res"}
    for step, (y, clipped) in expected.items():
        np.testing.assert_array_equal(tensor(records[step], *y.shape), y)
        assert result.saturations[step] == clipped


def emit_expert(
    program: Assembler, fc1: LinearParams, fc2: LinearParams, expert: int, hidden: int, flags: int
) -> tuple[int, int, int]:
    """fc1, fc2 and the addition of one expert; their steps."""
    tokens = TOKENS
    tiles = packing.ceil_div(fc1.weight.shape[1], program.acc.linear.t_in)
    first = program.linear(
        fc1, src=0, dst=hidden, n_tok=tokens, flags=flags, list_mode=LIST["gather"], expert=expert,
        slot=SLOT,
    )  # fmt: skip
    second = program.linear(
        fc2, src=hidden, dst=100, x_base=tiles * tokens, flags=LOAD_X, list_mode=LIST["listed"],
        expert=expert, slot=SLOT,
    )  # fmt: skip
    add = program.emit(
        "add", n_tok=tokens, tiles=tiles, src=100, count=tokens, list_mode=LIST["listed"],
        expert=expert, slot=SLOT,
    )  # fmt: skip
    return first, second, add


def expert_program(sim: CSim) -> tuple[Assembler, Expected]:
    """The program, the result and saturations of its steps."""
    rng, tokens, dim, hidden, experts = np.random.default_rng(3), TOKENS, 20, 13, 4
    x = rng.integers(-128, 128, (tokens, dim)).astype(np.int8)
    res = int16(rng, tokens, dim)
    logits = rng.integers(-3, 3, (tokens, experts)).astype(np.int16)
    logits[:, 0] = -30000  # its list stays empty, yet it is the one that loads x and the table
    fc1 = [linear_params(rng, hidden, dim, table=True) for _ in range(experts)]
    table = np.roll(np.arange(-128, 128), 128).astype(np.int8) // 2
    fc1 = [replace(p, table=table) for p in fc1]  # 0 stays 0, as in GELU: padding remains 0
    fc2 = [linear_params(rng, dim, hidden, wide=True) for _ in range(experts)]
    program, expected = Assembler(sim.acc), Expected()
    program.image(x)
    used = program.image(rng.integers(-128, 128, (tokens, 32)))  # where results will lie
    program.load_const(res, 0)
    program.put(logits, 50)
    program.emit(
        "gate", src=50, n_tok=tokens, experts=experts, top_k=2, mult=9000, shift=1, slot=SLOT
    )
    chosen = numerics.top_k(logits, 2)
    scores = numerics.gate_scores(np.take_along_axis(logits, chosen, -1), 9000, SHIFTS[1])
    for e in range(experts):
        rows, place = np.nonzero(chosen == e)
        loads = (LOAD_X | LOAD_TABLE) if e == 0 else 0
        first, second, add = emit_expert(program, fc1[e], fc2[e], e, used, loads)
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
    return program, expected


@pytest.mark.parametrize("name", MACHINES)
def test_layernorm(csim: Make, name: str) -> None:
    check_layernorm(csim(name))


@pytest.mark.parametrize("name", MACHINES)
def test_gate(csim: Make, name: str) -> None:
    check_gate(csim(name))


@pytest.mark.parametrize("name", MACHINES)
def test_experts(csim: Make, name: str) -> None:
    check_experts(csim(name))


def test_exact_types(exact: CSim) -> None:
    check_layernorm(exact)
    check_gate(exact)
    check_experts(exact)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("base", [7, 300])
def test_residual_additions_saturate(csim: Make, name: str, base: int) -> None:
    """In place, and from another tensor: rows outside of the range keep what they held."""
    rng, sim = np.random.default_rng(4), csim(name)
    res, other, y = int16(rng, 10, 14), int16(rng, 10, 14), int16(rng, 4, 14)
    program = Assembler(sim.acc)
    program.load_const(other, 7)
    program.load_const(res, base)
    program.put(y, 20)
    tiles = packing.ceil_div(14, sim.acc.linear.t_in)
    step = program.emit("add", dst=7, base=base, n_tok=10, tiles=tiles, src=20, first=5, count=4)
    result = program.run(sim)
    sat = Saturations()
    total = (res if base == 7 else other).astype(np.int64)
    total[5:9] = res[5:9] + y.astype(np.int64)
    expected = numerics.saturate(total, INT16, "add", sat)
    np.testing.assert_array_equal(tensor(result.trace[step], 10, 14), expected)
    assert result.saturations[step] == sat.total > 0


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_attention_between_the_memories(csim: Make, name: str, heads: int) -> None:
    """q, k and v in the order of the kernel's beats; what pads the last word becomes 0."""
    rng, sim, tokens = np.random.default_rng(5), csim(name), 9
    cfg, lanes = sim.acc.attention, sim.acc.linear.t_in
    dim = 3 * cfg.dim_lanes - 1
    layout = HeadLayout(heads, dim, cfg.dim_lanes, cfg.head_units)
    q, k, v = (rng.integers(-128, 128, (heads, tokens, dim)).astype(np.int8) for _ in "qkv")
    params = kernels.AttentionParams(900, SHIFTS[2], 50000, 14)
    words = packing.ceil_div(layout.width, lanes) * tokens
    program = Assembler(sim.acc)
    for part, name_ in enumerate((q, k, v)):
        flat = np.zeros((tokens, layout.width), np.int8)
        flat[:, layout.places()] = name_.transpose(1, 0, 2).reshape(tokens, -1)
        program.put(flat, 1 + part * words, "heads")
    used = program.image(rng.integers(-128, 128, (tokens, 128)))  # where the result will lie
    step = program.emit(
        "attention", q=1, k=1 + words, v=1 + 2 * words, dst=used, n_tok=tokens,
        head_groups=layout.groups, dim_tiles=layout.dim_tiles, score_mult=params.score_mult,
        out_mult=params.out_mult, score_shift=2, out_shift=14,
    )  # fmt: skip
    result = program.run(sim)
    expected, clipped = attention_reference(AttentionOp(q, k, v, params))
    whole = np.zeros((tokens, layout.width), np.int64)
    whole[:, layout.places()] = expected.transpose(1, 0, 2).reshape(tokens, -1)
    np.testing.assert_array_equal(tensor(result.trace[step], tokens, layout.width), whole)
    assert result.saturations[step] == clipped


@pytest.mark.parametrize("name", MACHINES)
def test_images_of_several_tasks_in_one_run(csim: Make, name: str) -> None:
    """Every image has the first logits of its own task and zeros after them; saturations add up."""
    rng, sim, dim, classes = np.random.default_rng(6), csim(name), 10, (7, 20)
    stored = (5, 17)
    x = rng.integers(-128, 128, (5, 1, dim)).astype(np.int8)
    heads = [linear_params(rng, n, dim, wide=True) for n in classes]
    program = Assembler(sim.acc)
    program.image(x[0])
    steps = []
    for task, head in enumerate(heads):
        fields = {"n_tok": 1, "n_list": 1, "dst": 2, "flags": LOAD_X, "tasks": 1 << task}
        steps.append(program.linear(head, src=0, **fields))
        program.emit("store", src=2, n_out=stored[task], space=Y, last=1, tasks=1 << task)
    images = np.stack([packing.pack_activations(a, sim.acc.linear.t_in) for a in x])
    tasks = [0, 1, 1, 0, 1]
    result = sim.run(*program.encoded(), images.view(np.int8), tasks, trace=3)
    for task, (step, head) in enumerate(zip(steps, heads, strict=True)):
        chosen, sat = np.array(tasks) == task, Saturations()
        expected = kernels.linear(x[chosen, 0], head, "head", sat)[1]
        n = stored[task]
        np.testing.assert_array_equal(result.logits[chosen, :n], expected[:, :n])
        assert not result.logits[chosen, n:].any()
        assert result.saturations[step] == sat.total
    assert {(record.image, record.step) for record in result.trace} == {(3, 0), (3, 1)}
