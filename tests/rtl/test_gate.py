"""The SystemVerilog gate kernel against the integer reference, bit by bit, and its cycles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_bench import build_folder, compiled, write

from hwmoe.codegen.rtl_gate import TOP, gate_rtl
from hwmoe.dse.gate_cycles import gate_cycles
from hwmoe.plan.accelerator import GateConfig
from hwmoe.plan.packing import GATE_COMMAND, pack_fields
from hwmoe.quant.kernels import GateParams, gate
from hwmoe.quant.numerics import SHIFTS
from hwmoe.sim.cocotb_streams import run_cocotb
from hwmoe.sim.kernel_cases import GateOp, gate_case, gate_widths
from hwmoe.sim.streams import StreamCase, StreamResult
from hwmoe.sim.verilator import lint

CONFIGS = {
    "one": GateConfig(max_experts=5, max_k=1),
    "one_of_all": GateConfig(max_experts=5, max_k=1, all_scores=True),
    "three": GateConfig(max_experts=16, max_k=3, all_scores=True),
    "most": GateConfig(max_experts=64, max_k=8, all_scores=True),
}
LINTED = CONFIGS | {
    "smallest": GateConfig(max_experts=1, max_k=1),
    "smallest_of_all": GateConfig(max_experts=1, max_k=1, all_scores=True),
    "more_cells_than_experts": GateConfig(max_experts=3, max_k=8, all_scores=True),
    "deepest": GateConfig(max_experts=1024, max_k=2),
    "deepest_of_all": GateConfig(max_experts=1024, max_k=2, all_scores=True),
}
UNDER_COCOTB = ("three",)  # the others run in the bench that builds faster
LOW, HIGH = -(1 << 15), (1 << 15) - 1
Case = tuple[str, list[GateOp]]


def make_op(
    rng: np.random.Generator, shape: tuple[int, int], k: int, shift: int | None = None
) -> GateOp:
    """Random logits, each token with a spread of its own, at a multiplier that tells them apart."""
    shift = int(rng.choice(SHIFTS)) if shift is None else shift
    mult = min((1 << 17) - 1, max(1, int(2**shift * 2 ** rng.uniform(-9, -2))))
    spread = 2 ** rng.uniform(0, 14, (shape[0], 1))
    logits = np.clip(rng.normal(0, spread, shape), LOW, HIGH).astype(np.int16)
    return GateOp(logits, GateParams(mult, shift, k))


def extreme_ops(rng: np.random.Generator, experts: int, k: int) -> list[GateOp]:
    """Ties of all kinds, the largest distances, both ends of the multiplier."""
    places = np.arange(experts)
    rows = [np.full(experts, value) for value in (0, LOW, HIGH)]
    rows += [places, -places, np.where(places % 2, LOW, HIGH), np.where(places % 2, HIGH, LOW)]
    rows += [np.where(places == p, HIGH, LOW) for p in (0, experts // 2, experts - 1)]
    rows += list(rng.integers(-1, 2, (20, experts)))  # many ties
    logits = np.stack(rows).astype(np.int16)
    ends = ((0, SHIFTS[0]), (1, SHIFTS[-1]), *(((1 << 17) - 1, shift) for shift in SHIFTS))
    return [GateOp(logits, GateParams(mult, shift, k)) for mult, shift in ends]


def over_all(cases: list[Case]) -> list[Case]:
    """The same logits with the other softmax, and then both in turn."""
    turned = []
    for name, ops in cases:
        others = [replace(op, params=replace(op.params, scores="all")) for op in ops]
        turned.append((f"{name}_of_all", others))
    mixed = [op for pair in zip(cases[-1][1], turned[-1][1], strict=True) for op in pair]
    return [*cases, *turned, ("both", mixed)]


def all_cases(cfg: GateConfig) -> list[Case]:
    rng = np.random.default_rng(7)
    experts, k = cfg.max_experts, cfg.max_k
    cases = [
        ("one_token", [make_op(rng, (1, experts), k)]),
        ("many_tokens", [make_op(rng, (200, experts), k, SHIFTS[2])]),
        ("all_chosen", [make_op(rng, (60, k), k), make_op(rng, (60, 1), 1)]),
        ("each_k", [make_op(rng, (7, experts), n) for n in range(1, k + 1)]),
        ("each_k_of_k", [make_op(rng, (30, n), n) for n in range(1, k + 1)]),
        (
            "few_more_than_k",
            [make_op(rng, (30, min(experts, k + n)), k) for n in range(1, 5)],
        ),
        ("shifts", [make_op(rng, (9, experts), k, shift) for shift in SHIFTS]),
        ("extremes", extreme_ops(rng, experts, k)),
    ]
    chained = []
    for _ in range(12):
        count = int(rng.integers(1, experts + 1))
        shape = (int(rng.integers(1, 9)), count)
        chained.append(make_op(rng, shape, int(rng.integers(1, min(k, count) + 1))))
    cases.append(("back_to_back", chained))
    return over_all(cases) if cfg.all_scores else cases


def differences(case: Case, result: StreamResult) -> list[str]:
    """What differs from the reference, in words."""
    found, start = [], 0
    for index, op in enumerate(case[1]):
        beats = result.outputs["m_axis_y"][start : start + op.output_beats()]
        start += len(beats)
        where = f"{case[0]}, command {index} {op.logits.shape}"
        both = zip(("experts", "scores"), op.decode(beats), gate(op.logits, op.params), strict=True)
        for what, got, want in both:
            if not np.array_equal(got, want):
                found.append(f"{where}: {np.count_nonzero(got != want)} {what} differ")
    if np.any(result.outputs["m_axis_status"]):
        found.append(f"{case[0]}: a status is not 0")
    return found


def all_differences(cases: list[Case], results: list[StreamResult]) -> list[str]:
    pairs = zip(cases, results, strict=True)
    return [line for case, result in pairs for line in differences(case, result)]


def run_compiled(
    files: dict[str, str], streams: list[StreamCase], folder: Path, stall: float
) -> list[StreamResult]:
    kernel = compiled(TOP, files, gate_widths(), folder, "-O0")
    return [kernel.run(s, stall, seed, timeout_cycles=500_000) for seed, s in enumerate(streams)]


def run(name: str, cases: list[Case], folder: Path, stall: float) -> list[StreamResult]:
    streams, files = [gate_case(*case) for case in cases], gate_rtl(CONFIGS[name])
    if name not in UNDER_COCOTB:
        return run_compiled(files, streams, folder / name, stall)
    sources = write(files, folder / name / "rtl")
    build = folder / name / "build"
    return run_cocotb(TOP, sources, streams, build, stall, seed=3, optimize="-O0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the tests of this file, so that each configuration is compiled once."""
    return build_folder(tmp_path_factory, "gate")


@pytest.mark.parametrize("name", LINTED)
def test_lint(name: str, tmp_path: Path) -> None:
    assert lint(write(gate_rtl(LINTED[name]), tmp_path), TOP) == ""


@pytest.mark.parametrize("stall", [0.3, 0.8])
@pytest.mark.parametrize("name", CONFIGS)
def test_bit_exact_with_stalls(name: str, stall: float, folder: Path) -> None:
    cases = all_cases(CONFIGS[name])
    assert all_differences(cases, run(name, cases, folder, stall)) == []


@pytest.mark.parametrize("name", CONFIGS)
def test_bit_exact_and_cycles_at_full_speed(name: str, folder: Path) -> None:
    cases = all_cases(CONFIGS[name])
    results = run(name, cases, folder, stall=0.0)
    errors = []
    for (case_name, ops), result in zip(cases, results, strict=True):
        assert differences((case_name, ops), result) == []
        took = result.stamps["m_axis_status"] - result.stamps["s_axis_cmd"]
        for op, cycles in zip(ops, took, strict=True):
            p = op.params
            errors.append(gate_cycles(*op.logits.shape, p.top_k, p.scores) - int(cycles))
            assert errors[-1] == 0, (case_name, op.logits.shape, op.params.top_k, cycles)
    print(f"{name}: cycle formula off by {min(errors)} to {max(errors)} in {len(errors)} commands")


def test_empty_commands_only_answer(folder: Path) -> None:
    fields = {"n_tok": 3, "experts": 2, "k": 1}
    commands = np.concatenate([pack_fields(GATE_COMMAND, fields | {name: 0}) for name in fields])
    case = StreamCase("empty", {"s_axis_cmd": commands}, {"m_axis_status": 3})
    [result] = run_compiled(gate_rtl(CONFIGS["one"]), [case], folder / "one", stall=0.0)
    took = result.stamps["m_axis_status"] - result.stamps["s_axis_cmd"]
    assert set(took) == {gate_cycles(0, 2, 1)}


# Each: configuration, file, the right expression, and the wrong one.
FAULTS = {
    "ties go to the higher index": (
        "one", "hwmoe_gate_top.sv", "$signed(logit) > $signed", "$signed(logit) >= $signed",
    ),
    "what stays in the cells is summed, not what drops out": (
        "one_of_all", "hwmoe_gate.sv", "? least : beat", "? beat : least",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found(fault: str, tmp_path: Path) -> None:
    name, file, right, wrong = FAULTS[fault]
    cfg = CONFIGS[name]
    files = gate_rtl(cfg)
    assert files[file].count(right) == 1
    files[file] = files[file].replace(right, wrong)
    cases = all_cases(cfg)
    results = run_compiled(files, [gate_case(*case) for case in cases], tmp_path, stall=0.0)
    assert all_differences(cases, results)


def test_same_text_every_time() -> None:
    assert gate_rtl(CONFIGS["three"]) == gate_rtl(CONFIGS["three"])
