"""The SystemVerilog attention kernel against the integer reference, bit by bit, and its cycles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kernel_bench import build_folder, compiled, statuses, write
from some import mostly_slow

from hwmoe.codegen.rtl_attention import TOP, attention_rtl
from hwmoe.dse.attention_cycles import attention_cycles
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AttentionConfig
from hwmoe.plan.packing import ATTENTION_COMMAND, ceil_div, pack_fields
from hwmoe.quant.kernels import AttentionParams, attention
from hwmoe.quant.numerics import SHIFTS, IntArray, Saturations
from hwmoe.sim.cocotb_streams import run_cocotb
from hwmoe.sim.kernel_cases import AttentionOp, attention_case, attention_widths
from hwmoe.sim.streams import StreamCase, StreamResult
from hwmoe.sim.verilator import lint

CONFIGS = {
    "one_row": AttentionConfig(rows=1, dim_lanes=4, head_units=1, max_tokens=9, max_dim_tiles=1),
    "two_rows": AttentionConfig(rows=2, dim_lanes=16, head_units=1, max_tokens=33, max_dim_tiles=2),
    "two_units": AttentionConfig(rows=4, dim_lanes=8, head_units=2, max_tokens=24, max_dim_tiles=3),
    "odd": AttentionConfig(rows=3, dim_lanes=5, head_units=2, max_tokens=16, max_dim_tiles=5),
    "wide": AttentionConfig(rows=8, dim_lanes=16, head_units=1, max_tokens=1024, max_dim_tiles=4),
}
QUICK = ("one_row", "two_units", "odd")  # the others are in `-m slow`
LINTED = CONFIGS | {
    "smallest": AttentionConfig(rows=1, dim_lanes=1, head_units=1, max_tokens=1, max_dim_tiles=1),
    "more_rows_than_tokens": AttentionConfig(
        rows=8, dim_lanes=4, head_units=3, max_tokens=4, max_dim_tiles=2
    ),
    "largest_numbers": AttentionConfig(
        rows=2, dim_lanes=32, head_units=1, max_tokens=1024, max_dim_tiles=64
    ),
    "zcu102": AttentionConfig(rows=16, dim_lanes=32, head_units=1, max_tokens=256, max_dim_tiles=2),
}
UNDER_COCOTB = ("two_units",)  # the others run in the bench that builds faster
Case = tuple[str, list[AttentionOp]]


def make_op(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    score_shift: int = SHIFTS[-1],
    out_shift: int | None = None,
) -> AttentionOp:
    """Random [heads, T, head_dim] with a multiplier at which the probabilities spread."""
    q, k, v = (rng.integers(-128, 128, shape).astype(np.int8) for _ in range(3))
    # scores spread by about 5500 * sqrt(head_dim); the indices shall spread by about 100
    ratio = 100 / (5500 * np.sqrt(shape[2])) * rng.uniform(0.3, 3)
    mult = int(min(max(1, ratio * 2**score_shift), (1 << 17) - 1))
    f = int(rng.integers(14, 19)) if out_shift is None else out_shift
    c = int(rng.integers(1 << 15, 1 << 16))
    return AttentionOp(q, k, v, AttentionParams(mult, score_shift, c, f))


def constant_op(
    shape: tuple[int, int, int], q: int, k: int, v: int, f: int = 15, c: int = (1 << 16) - 1
) -> AttentionOp:
    """Every element of a tensor the same."""
    full_q, full_k, full_v = (np.full(shape, value, np.int8) for value in (q, k, v))
    params = AttentionParams((1 << 17) - 1, SHIFTS[0], c, f)
    return AttentionOp(full_q, full_k, full_v, params)


def one_hot_op(shape: tuple[int, int, int], v: IntArray, f: int) -> AttentionOp:
    """One token has the largest possible score and every other the smallest: p is 127 or 0."""
    k = np.full(shape, 127, np.int8)
    k[:, shape[1] // 2] = -128
    params = AttentionParams((1 << 17) - 1, SHIFTS[1], 1 << 15, f)
    return AttentionOp(np.full(shape, -128, np.int8), k, v.astype(np.int8), params)


def shape_cases(cfg: AttentionConfig, rng: np.random.Generator) -> list[Case]:
    """One token, group boundaries, padded units and lanes, the memories filled to the brim."""
    most, dim, heads = cfg.max_tokens, cfg.dim_lanes * cfg.max_dim_tiles, cfg.head_units
    tokens = {1, cfg.rows - 1, cfg.rows, cfg.rows + 1, 2 * cfg.rows + 1, min(most, 33)}
    cases = [
        (f"tokens_{t}", [make_op(rng, (heads, t, dim))]) for t in sorted(tokens) if 1 <= t <= most
    ]
    cases.append(("full", [make_op(rng, (1, min(most, 129), dim))]))
    if most > 129:  # the longest sum of p (17 bits) and the largest sums of p * v
        shape = (1, most, cfg.dim_lanes)
        cases.append(("longest", [make_op(rng, shape), constant_op(shape, 1, 1, -128, 24)]))
        cases.append(("largest_sum", [constant_op(shape, 1, 1, -128, 15, 1 << 15)]))
    cases.append(("heads", [make_op(rng, (2 * heads + 1, cfg.rows, cfg.dim_lanes))]))
    cases.append(("padded_lanes", [make_op(rng, (heads, 5, max(1, dim - 3)))]))
    cases.append(("one_head_one_lane", [make_op(rng, (1, 3, 1))]))
    return cases


def value_cases(cfg: AttentionConfig, rng: np.random.Generator) -> list[Case]:
    """Extremes of the operands, and all shifts."""
    shape = (cfg.head_units, min(cfg.max_tokens, 13), cfg.dim_lanes * cfg.max_dim_tiles)
    low, high = -128, 127
    extremes = [(low, low, low), (high, high, high), (low, high, low), (low, low, high)]
    cases: list[Case] = [
        ("extremes", [constant_op(shape, *values) for values in extremes]),
        ("equal_scores", [constant_op(shape, 0, 1, 5), constant_op(shape, 3, -7, -128, f=14)]),
        ("one_hot", [one_hot_op(shape, rng.integers(-128, 128, shape), 15)]),
        ("least_shift", [one_hot_op(shape, rng.integers(-1, 2, shape), 8)]),
        ("score_shifts", [make_op(rng, shape, s) for s in SHIFTS]),
        ("out_shifts", [make_op(rng, shape, out_shift=f) for f in range(8, 25)]),
    ]
    base = make_op(rng, shape)
    multipliers = [(0, 1 << 15), ((1 << 17) - 1, (1 << 16) - 1), (1, 1 << 15)]
    shifts = [(SHIFTS[0], 8), (SHIFTS[1], 8), (SHIFTS[2], 24)]
    params = [
        AttentionParams(m, s, c, f) for (m, c), (s, f) in zip(multipliers, shifts, strict=True)
    ]
    cases.append(("multipliers", [AttentionOp(base.q, base.k, base.v, p) for p in params]))
    return cases


def random_shape(cfg: AttentionConfig, rng: np.random.Generator) -> tuple[int, int, int]:
    dim = cfg.dim_lanes * cfg.max_dim_tiles
    heads = int(rng.integers(1, 3 * cfg.head_units + 1))
    return heads, int(rng.integers(1, min(cfg.max_tokens, 24) + 1)), int(rng.integers(1, dim + 1))


def all_cases(cfg: AttentionConfig) -> list[Case]:
    rng = np.random.default_rng(7)
    chained = [make_op(rng, random_shape(cfg, rng), SHIFTS[i % 4]) for i in range(12)]
    return [*shape_cases(cfg, rng), *value_cases(cfg, rng), ("back_to_back", chained)]


def reference(op: AttentionOp) -> tuple[IntArray, int]:
    """Output and number of clipped values."""
    sat = Saturations()
    return attention(op.q, op.k, op.v, op.params, "o", sat)[1], sat.total


def differences(cfg: AttentionConfig, case: Case, result: StreamResult) -> list[str]:
    """What differs from the reference, in words."""
    found, start = [], 0
    for index, (op, clips) in enumerate(zip(case[1], statuses(result), strict=True)):
        beats = op.output_beats(cfg)
        got = op.decode(cfg, result.outputs["m_axis_o"][start : start + beats])
        start += beats
        want, clipped = reference(op)
        where = f"{case[0]}, command {index} {op.q.shape}"
        if not np.array_equal(got, want):
            found.append(f"{where}: {np.count_nonzero(got != want)} values differ")
        if clips != clipped:
            found.append(f"{where}: {clips} clipped values instead of {clipped}")
    return found


def all_differences(
    cfg: AttentionConfig, cases: list[Case], results: list[StreamResult]
) -> list[str]:
    pairs = zip(cases, results, strict=True)
    return [line for case, result in pairs for line in differences(cfg, case, result)]


def run_compiled(
    cfg: AttentionConfig,
    files: dict[str, str],
    streams: list[StreamCase],
    folder: Path,
    stall: float,
) -> list[StreamResult]:
    kernel = compiled(TOP, files, attention_widths(cfg), folder, "-O1")
    return [kernel.run(s, stall, seed, timeout_cycles=3_000_000) for seed, s in enumerate(streams)]


def run(name: str, cases: list[Case], folder: Path, stall: float) -> list[StreamResult]:
    cfg = CONFIGS[name]
    streams, files = [attention_case(cfg, *case) for case in cases], attention_rtl(cfg)
    if name not in UNDER_COCOTB:
        return run_compiled(cfg, files, streams, folder / name, stall)
    sources = write(files, folder / name / "rtl")
    return run_cocotb(TOP, sources, streams, folder / name / "build", stall, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the tests of this file, so that each configuration is compiled once."""
    return build_folder(tmp_path_factory, "attention")


@pytest.mark.parametrize("name", LINTED)
def test_lint(name: str, tmp_path: Path) -> None:
    assert lint(write(attention_rtl(LINTED[name]), tmp_path), TOP) == ""


@pytest.mark.parametrize("name", mostly_slow(CONFIGS, QUICK))
def test_bit_exact_with_stalls(name: str, folder: Path) -> None:
    cfg, cases = CONFIGS[name], all_cases(CONFIGS[name])
    results = run(name, cases, folder, stall=0.3)
    assert all_differences(cfg, cases, results) == []
    assert any(reference(op)[1] for _, ops in cases for op in ops)  # saturation did happen


@pytest.mark.parametrize("name", mostly_slow(CONFIGS, QUICK))
def test_bit_exact_and_cycles_at_full_speed(name: str, folder: Path) -> None:
    cfg, cases = CONFIGS[name], all_cases(CONFIGS[name])
    results = run(name, cases, folder, stall=0.0)
    errors = []
    for (case_name, ops), result in zip(cases, results, strict=True):
        assert differences(cfg, (case_name, ops), result) == []
        took = result.stamps["m_axis_status"] - result.stamps["s_axis_cmd"]
        for op, cycles in zip(ops, took, strict=True):
            errors.append(predicted(cfg, op) - int(cycles))
            assert abs(errors[-1]) <= max(16, 0.01 * cycles), (case_name, op.q.shape, cycles)
    print(f"{name}: cycle formula off by {min(errors)} to {max(errors)} in {len(errors)} commands")


def predicted(cfg: AttentionConfig, op: AttentionOp) -> int:
    command = op.command(cfg)
    return attention_cycles(cfg, command["n_tok"], command["dim_tiles"], command["head_groups"])


def test_long_output_stalls_lose_nothing(folder: Path) -> None:
    cfg = CONFIGS["two_units"]
    rng = np.random.default_rng(1)
    cases = [(f"case_{i}", [make_op(rng, random_shape(cfg, rng))]) for i in range(6)]
    results = run("two_units", cases, folder, stall=0.8)
    assert all_differences(cfg, cases, results) == []


def test_empty_commands_only_answer(folder: Path) -> None:
    cfg = CONFIGS["one_row"]
    fields = {"n_tok": 3, "dim_tiles": 1, "head_groups": 1}
    empty = [pack_fields(ATTENTION_COMMAND, fields | {name: 0}) for name in fields]
    op = make_op(np.random.default_rng(2), (1, 5, 4))
    normal = attention_case(cfg, "empty", [op])
    commands = np.concatenate([*empty, normal.inputs["s_axis_cmd"], *empty])
    case = StreamCase(
        "empty",
        {**normal.inputs, "s_axis_cmd": commands},
        {**normal.outputs, "m_axis_status": len(commands)},
    )
    [result] = run_compiled(cfg, attention_rtl(cfg), [case], folder / "one_row", stall=0.0)
    want, clips = reference(op)
    assert np.array_equal(op.decode(cfg, result.outputs["m_axis_o"]), want)
    assert statuses(result) == [0, 0, 0, clips, 0, 0, 0]
    took = result.stamps["m_axis_status"] - result.stamps["s_axis_cmd"]
    assert took[0] == attention_cycles(cfg, 0, 1, 1)


FAULTS = {
    "exp7_entry": ("hwmoe_attn_exp7.sv", "8'd37: value <= 7'd57", "8'd37: value <= 7'd56"),
    "output_half": ("hwmoe_attn_scale.sv", "27'd1 << e", "27'd0 << e"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found(fault: str, tmp_path: Path) -> None:
    cfg = CONFIGS["one_row"]
    file, right, wrong = FAULTS[fault]
    files = attention_rtl(cfg)
    assert files[file].count(right) == 1
    files[file] = files[file].replace(right, wrong)
    cases = all_cases(cfg)
    streams = [attention_case(cfg, *case) for case in cases]
    results = run_compiled(cfg, files, streams, tmp_path, stall=0.0)
    assert all_differences(cfg, cases, results)


def test_array_is_busy_in_long_rows() -> None:
    """129 tokens of 64 dimensions: what is lost is the last group's 7 empty rows, and 1.4 %."""
    cfg = CONFIGS["wide"]
    cycles = attention_cycles(cfg, 129, 4, 1)
    macs = 2 * 129 * 129 * 64
    rows_filled = 129 / (8 * ceil_div(129, 8))
    assert macs / (cycles * cfg.macs_per_cycle) > 0.98 * rows_filled


def test_same_text_every_time() -> None:
    assert attention_rtl(CONFIGS["odd"]) == attention_rtl(CONFIGS["odd"])


def test_head_dimension_beyond_the_multiplier() -> None:
    with pytest.raises(HwmoeError, match="lower max_dim_tiles"):
        attention_rtl(AttentionConfig(dim_lanes=64, max_dim_tiles=64))
