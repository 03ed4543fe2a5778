"""The SystemVerilog LayerNorm kernel against the integer reference, bit by bit, and its cycles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_bench import build_folder, compiled, statuses, write
from pydantic import ValidationError

from hwmoe.codegen.rtl_layernorm import TOP, layernorm_rtl
from hwmoe.dse.layernorm_cycles import layernorm_cycles
from hwmoe.plan.accelerator import LayerNormConfig
from hwmoe.plan.packing import LAYERNORM_COMMAND, ceil_div, pack_fields
from hwmoe.quant.kernels import NormParams, norm
from hwmoe.quant.numerics import SHIFTS, IntArray, Saturations
from hwmoe.sim.cocotb_streams import run_cocotb
from hwmoe.sim.kernel_cases import LayerNormOp, layernorm_case, layernorm_widths
from hwmoe.sim.streams import StreamCase, StreamResult
from hwmoe.sim.verilator import lint

CONFIGS = {
    "one_lane": LayerNormConfig(lanes=1, max_tiles=9),
    "odd": LayerNormConfig(lanes=5, max_tiles=7),
    "eight": LayerNormConfig(lanes=8, max_tiles=128),
}
LINTED = CONFIGS | {
    "smallest": LayerNormConfig(lanes=1, max_tiles=1),
    "deepest": LayerNormConfig(lanes=1, max_tiles=1024),
    "widest": LayerNormConfig(lanes=64, max_tiles=16),
    "sixteen": LayerNormConfig(lanes=16, max_tiles=64),
    "thirty_two": LayerNormConfig(lanes=32, max_tiles=12),
}
UNDER_COCOTB = ("odd",)  # the others run in the bench that builds faster
LOW, HIGH = -(1 << 15), (1 << 15) - 1
GAIN, BIAS = (1 << 17) - 1, (1 << 31) - 1
MOST_EPS = 1 << 40
Case = tuple[str, list[LayerNormOp]]


def make_params(
    rng: np.random.Generator, dim: int, shift: int | None = None, eps: int | None = None
) -> NormParams:
    """Random constants; about one output in a hundred is clipped."""
    shift = int(rng.choice(SHIFTS)) if shift is None else shift
    # z has ten fraction bits: at this gain three deviations reach about the end of int8
    unit = min(GAIN, int(127 / 3 * 2 ** (shift - 10)))
    gain = rng.integers(-unit, unit + 1, dim)
    bias = rng.integers(-20, 21, dim) << shift
    return NormParams(
        gain.astype(np.int32),
        bias.astype(np.int32),
        int(2 ** rng.uniform(0, 40)) if eps is None else eps,
        shift,
    )


def make_op(
    rng: np.random.Generator, shape: tuple[int, int], shift: int | None = None
) -> LayerNormOp:
    """Random tokens, each with a spread and an offset of its own."""
    spread = 2 ** rng.uniform(0, 14, (shape[0], 1))
    offset = rng.integers(LOW, HIGH + 1, (shape[0], 1)) * rng.integers(0, 2, (shape[0], 1))
    x = np.clip(rng.normal(offset, spread, shape), LOW, HIGH).astype(np.int16)
    return LayerNormOp(x, make_params(rng, shape[1], shift))


def extreme_rows(dim: int) -> IntArray:
    """Constant rows, alternating extremes, one channel apart from all others."""
    rows = [np.full(dim, value) for value in (0, 1, -1, 255, LOW, HIGH)]
    rows += [np.where(np.arange(dim) % 2, low, high) for low, high in ((LOW, HIGH), (HIGH, LOW))]
    rows += [np.where(np.arange(dim) % 2, 0, 1), np.where(np.arange(dim) < dim // 2, LOW, HIGH)]
    for place in (0, dim // 2, dim - 1):
        for value, others in ((HIGH, LOW), (LOW, HIGH), (1, 0), (LOW, 0)):
            rows.append(np.where(np.arange(dim) == place, value, others))
    return np.stack(rows).astype(np.int16)


def extreme_ops(rng: np.random.Generator, dim: int) -> list[LayerNormOp]:
    """The extreme rows with both ends of E, of the gain and of the bias, at every shift."""
    x = extreme_rows(dim)
    ops = [
        LayerNormOp(x, make_params(rng, dim, shift, eps))
        for shift in SHIFTS
        for eps in (1, MOST_EPS)
    ]
    for gain, bias in ((GAIN, BIAS), (-GAIN, -BIAS - 1), (GAIN, -BIAS - 1), (0, 0), (1, 0)):
        full = (np.full(dim, value, np.int64).astype(np.int32) for value in (gain, bias))
        ops.append(LayerNormOp(x, NormParams(*full, eps=1, shift=SHIFTS[gain % 4])))
    return ops


def all_cases(cfg: LayerNormConfig) -> list[Case]:
    rng = np.random.default_rng(7)
    most = min(1024, cfg.lanes * cfg.max_tiles)
    ragged = max(1, most - cfg.lanes // 2)
    cases = [
        ("one_token", [make_op(rng, (1, most))]),
        ("one_channel", [make_op(rng, (150, 1))]),
        ("one_tile", [make_op(rng, (200, min(most, cfg.lanes)))]),
        ("many_rows", [make_op(rng, (2000, min(most, 3)))]),
        ("full", [make_op(rng, (5, most))]),
        ("ragged", [make_op(rng, (5, ragged)), make_op(rng, (3, max(1, ragged - 1)))]),
        ("shifts", [make_op(rng, (4, ragged), shift) for shift in SHIFTS]),
        ("extremes", extreme_ops(rng, most)),
        ("few_extremes", extreme_ops(rng, min(most, 3))),
    ]
    tokens, dims = rng.integers(1, 12, 12), rng.integers(1, most + 1, 12)
    chained = [make_op(rng, (int(t), int(d))) for t, d in zip(tokens, dims, strict=True)]
    return [*cases, ("back_to_back", chained)]


def reference(op: LayerNormOp) -> tuple[IntArray, int]:
    """Output and number of clipped values."""
    sat = Saturations()
    return norm(op.x, op.params, "y", sat), sat.total


def dirty(case: StreamCase, cfg: LayerNormConfig, ops: list[LayerNormOp]) -> StreamCase:
    """The same case with the padding of x and of the parameters filled with ones."""
    x, p = [], []
    for op in ops:
        tokens, dim = op.x.shape
        padding = np.arange(ceil_div(dim, cfg.lanes) * cfg.lanes) >= dim
        x.append(np.tile(np.repeat(padding, 2), tokens).reshape(-1, 2 * cfg.lanes))
        p.append(np.repeat(padding, 8).reshape(-1, 8 * cfg.lanes))
    masks = {"s_axis_x": np.concatenate(x), "s_axis_p": np.concatenate(p)}
    inputs = dict(case.inputs)
    for port, mask in masks.items():
        inputs[port] = np.where(mask, np.uint8(0xFF), inputs[port])
    return replace(case, inputs=inputs)


def differences(cfg: LayerNormConfig, case: Case, result: StreamResult) -> list[str]:
    """What differs from the reference, in words."""
    found, start = [], 0
    for index, (op, clips) in enumerate(zip(case[1], statuses(result), strict=True)):
        beats = result.outputs["m_axis_y"][start : start + op.output_beats(cfg)]
        start += len(beats)
        want, clipped = reference(op)
        got, where = op.decode(beats), f"{case[0]}, command {index} {op.x.shape}"
        if not np.array_equal(got, want):
            found.append(f"{where}: {np.count_nonzero(got != want)} values differ")
        if np.any(beats.reshape(len(want), -1)[:, want.shape[1] :]):
            found.append(f"{where}: lanes of padding are not 0")
        if clips != clipped:
            found.append(f"{where}: {clips} clipped values instead of {clipped}")
    return found


def all_differences(
    cfg: LayerNormConfig, cases: list[Case], results: list[StreamResult]
) -> list[str]:
    pairs = zip(cases, results, strict=True)
    return [line for case, result in pairs for line in differences(cfg, case, result)]


def run_compiled(
    cfg: LayerNormConfig,
    files: dict[str, str],
    streams: list[StreamCase],
    folder: Path,
    stall: float,
) -> list[StreamResult]:
    kernel = compiled(TOP, files, layernorm_widths(cfg), folder, "-O0")
    return [kernel.run(s, stall, seed, timeout_cycles=200_000) for seed, s in enumerate(streams)]


def run(name: str, cases: list[Case], folder: Path, stall: float) -> list[StreamResult]:
    cfg = CONFIGS[name]
    streams = [dirty(layernorm_case(cfg, *case), cfg, case[1]) for case in cases]
    files = layernorm_rtl(cfg)
    if name not in UNDER_COCOTB:
        return run_compiled(cfg, files, streams, folder / name, stall)
    sources = write(files, folder / name / "rtl")
    build = folder / name / "build"
    return run_cocotb(TOP, sources, streams, build, stall, seed=3, optimize="-O0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the tests of this file, so that each configuration is compiled once."""
    return build_folder(tmp_path_factory, "layernorm")


@pytest.mark.parametrize("name", LINTED)
def test_lint(name: str, tmp_path: Path) -> None:
    assert lint(write(layernorm_rtl(LINTED[name]), tmp_path), TOP) == ""


@pytest.mark.parametrize("name", CONFIGS)
def test_bit_exact_with_stalls(name: str, folder: Path) -> None:
    cfg, cases = CONFIGS[name], all_cases(CONFIGS[name])
    results = run(name, cases, folder, stall=0.3)
    assert all_differences(cfg, cases, results) == []
    assert any(reference(op)[1] for _, ops in cases for op in ops)  # saturation did happen


@pytest.mark.parametrize("name", CONFIGS)
def test_bit_exact_and_cycles_at_full_speed(name: str, folder: Path) -> None:
    cfg, cases = CONFIGS[name], all_cases(CONFIGS[name])
    results = run(name, cases, folder, stall=0.0)
    errors = []
    for (case_name, ops), result in zip(cases, results, strict=True):
        assert differences(cfg, (case_name, ops), result) == []
        took = result.stamps["m_axis_status"] - result.stamps["s_axis_cmd"]
        for op, cycles in zip(ops, took, strict=True):
            errors.append(predicted(cfg, op) - int(cycles))
            assert errors[-1] == 0, (case_name, op.x.shape, cycles, errors[-1])
    print(f"{name}: cycle formula off by {min(errors)} to {max(errors)} in {len(errors)} commands")


def predicted(cfg: LayerNormConfig, op: LayerNormOp) -> int:
    command = op.command(cfg)
    return layernorm_cycles(cfg, command["n_tok"], command["tiles"])


def test_long_output_stalls_lose_nothing(folder: Path) -> None:
    cfg = CONFIGS["eight"]
    rng = np.random.default_rng(1)
    shapes = [(9, 384), (40, 8), (20, 20), (100, 1)]
    cases: list[Case] = [(f"case_{i}", [make_op(rng, s)] * 2) for i, s in enumerate(shapes)]
    results = run("eight", cases, folder, stall=0.8)
    assert all_differences(cfg, cases, results) == []


def test_a_beat_a_cycle_for_any_number_of_tiles(folder: Path) -> None:
    """From the first output to the last, also if a token is a single beat."""
    cfg = CONFIGS["eight"]
    rng = np.random.default_rng(5)
    cases = [(f"tiles_{n}", [make_op(rng, (60, cfg.lanes * n))]) for n in (1, 2, 3, 6, 24, 48)]
    for (name, _), result in zip(cases, run("eight", cases, folder, stall=0.0), strict=True):
        stamps = result.stamps["m_axis_y"]
        assert stamps[-1] - stamps[0] == len(stamps) - 1, name


def test_empty_commands_only_answer(folder: Path) -> None:
    cfg = CONFIGS["one_lane"]
    fields = {"n_tok": 3, "tiles": 1, "dim": 1, "eps": 1}
    empty = [pack_fields(LAYERNORM_COMMAND, fields | {name: 0}) for name in ("n_tok", "tiles")]
    op = make_op(np.random.default_rng(2), (5, 4))
    normal = layernorm_case(cfg, "empty", [op])
    commands = np.concatenate([*empty, normal.inputs["s_axis_cmd"], *empty])
    case = StreamCase(
        "empty",
        {**normal.inputs, "s_axis_cmd": commands},
        {**normal.outputs, "m_axis_status": len(commands)},
    )
    [result] = run_compiled(cfg, layernorm_rtl(cfg), [case], folder / "one_lane", stall=0.0)
    want, clips = reference(op)
    assert np.array_equal(op.decode(result.outputs["m_axis_y"]), want)
    assert statuses(result) == [0, 0, clips, 0, 0]
    took = result.stamps["m_axis_status"] - result.stamps["s_axis_cmd"]
    assert took[0] == layernorm_cycles(cfg, 0, 1)


def test_planted_fault_is_found(tmp_path: Path) -> None:
    """The half that rounds z is missing."""
    cfg = CONFIGS["one_lane"]
    files = layernorm_rtl(cfg)
    right, wrong = "26'd1 << e_4", "26'd0 << e_4"
    assert files[f"{TOP}.sv"].count(right) == 1
    files[f"{TOP}.sv"] = files[f"{TOP}.sv"].replace(right, wrong)
    cases = all_cases(cfg)
    streams = [layernorm_case(cfg, *case) for case in cases]
    results = run_compiled(cfg, files, streams, tmp_path, stall=0.0)
    assert all_differences(cfg, cases, results)


def test_same_text_every_time() -> None:
    assert layernorm_rtl(CONFIGS["odd"]) == layernorm_rtl(CONFIGS["odd"])


def test_more_channels_than_the_numbers_allow() -> None:
    with pytest.raises(ValidationError, match="more than the 1024 channels"):
        LayerNormConfig(lanes=16, max_tiles=66)
