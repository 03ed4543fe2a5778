"""The SystemVerilog linear kernel against the integer reference, and its cycles to the formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_bench import compiled, write
from linear_ops import Commands, compare, extreme_op, random_params, work_of
from some import mostly_slow

import hwmoe
from hwmoe.codegen.rtl_linear import linear_rtl
from hwmoe.dse.linear_cycles import linear_cycles, linear_schedule
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import LinearConfig
from hwmoe.sim.cocotb_streams import run_cocotb
from hwmoe.sim.compiled import CompiledKernel
from hwmoe.sim.kernel_cases import LinearOp, linear_case, linear_widths
from hwmoe.sim.verilator import lint

pytestmark = pytest.mark.xdist_group("linear_rtl")  # with --dist loadgroup: one build for all

TOP = "hwmoe_linear"
MODEL = Path(hwmoe.__file__).parent / "templates" / "rtl" / "dsp" / "hwmoe_dsp48e2_model.sv"
CONFIGS = {
    "one_channel": LinearConfig(
        t_in=4, t_out=8, t_tok=1, t_epi=1, w_rows=2, max_tokens=17, x_words=100
    ),
    "two_tokens": LinearConfig(
        t_in=8, t_out=8, t_tok=2, t_epi=8, w_rows=1, max_tokens=33, x_words=256
    ),
    "block_ram": LinearConfig(
        t_in=16, t_out=16, t_tok=1, t_epi=8, w_rows=1, max_tokens=130, x_words=2048
    ),
    "deep": LinearConfig(t_in=32, t_out=4, t_tok=2, t_epi=4, w_rows=1, max_tokens=20, x_words=64),
    "odd": LinearConfig(t_in=12, t_out=4, t_tok=3, t_epi=2, w_rows=1, max_tokens=11, x_words=37),
}
LINT_ONLY = {
    "smallest": LinearConfig(t_in=1, t_out=4, t_tok=1, t_epi=1, max_tokens=1, x_words=1),
    "defaults": LinearConfig(),
    "many_lanes": LinearConfig(t_in=6, t_out=12, t_tok=8, t_epi=3, w_rows=3, x_words=65536),
    "large": LinearConfig(
        t_in=32, t_out=64, t_tok=2, t_epi=32, w_rows=8, max_tokens=1024, x_words=8192
    ),
}
SMALL = CONFIGS["one_channel"]
SEEDS = range(40)

Kernels = Callable[[str], CompiledKernel]


def build(cfg: LinearConfig, files: Mapping[str, str], folder: Path) -> CompiledKernel:
    return compiled(TOP, files, linear_widths(cfg), folder, "-O0")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    built: dict[str, CompiledKernel] = {}

    def get(name: str) -> CompiledKernel:
        if name not in built:
            cfg = CONFIGS[name]
            built[name] = build(cfg, linear_rtl(cfg), tmp_path_factory.mktemp(name))
        return built[name]

    return get


def on_primitives(cfg: LinearConfig) -> dict[str, str]:
    """The sources with DSP48E2 in simulation too, and our model of it."""
    files = linear_rtl(cfg)
    assert MODEL.name not in files  # synthesis has the real one
    top, twin, primitive = f"{TOP}.sv", "bit PRIMITIVE = 0;", "bit PRIMITIVE = 1;"
    assert files[top].count(twin) == 1
    files[top] = files[top].replace(twin, primitive)
    return files | {MODEL.name: MODEL.read_text()}


def sequence(cfg: LinearConfig, seed: int) -> list[LinearOp]:
    """One to six commands; every fifth sequence ends with accumulators at their limits."""
    ops = Commands(cfg, seed).draw(1 + seed % 6)
    return [*ops, extreme_op(np.random.default_rng(seed), cfg)] if seed % 5 == 0 else ops


@pytest.mark.parametrize("name", [*CONFIGS, *LINT_ONLY])
def test_lint_finds_nothing(name: str, tmp_path: Path) -> None:
    cfg = (CONFIGS | LINT_ONLY)[name]
    assert lint(write(linear_rtl(cfg), tmp_path), TOP) == ""


@pytest.mark.parametrize("name", CONFIGS)
def test_every_value_and_clip_count(name: str, kernels: Kernels) -> None:
    cfg, kernel = CONFIGS[name], kernels(name)
    for seed in SEEDS:
        ops = sequence(cfg, seed)
        case = linear_case(cfg, f"seed {seed}", ops)
        for stall in (0.3, 0.7):
            compare(cfg, ops, kernel.run(case, stall, seed, timeout_cycles=500_000))


@pytest.mark.parametrize("name", CONFIGS)
def test_cycle_formula_is_exact(name: str, kernels: Kernels) -> None:
    cfg, kernel = CONFIGS[name], kernels(name)
    worst = 0
    for seed in SEEDS:
        ops = sequence(cfg, seed)
        result = kernel.run(linear_case(cfg, f"seed {seed}", ops), timeout_cycles=200_000)
        compare(cfg, ops, result)
        measured = result.stamps["m_axis_status"] - result.stamps["s_axis_cmd"][0]
        predicted = linear_schedule(cfg, [work_of(cfg, op) for op in ops])
        worst = max(worst, int(np.abs(measured - predicted).max()))
    print(f"{name}: largest error of the formula over {len(SEEDS)} sequences: {worst} cycles")
    assert worst == 0


@pytest.mark.parametrize("name", mostly_slow(["one_channel", "deep", "odd"], ["one_channel"]))
def test_primitives_do_the_same_in_the_same_cycles(name: str, tmp_path: Path) -> None:
    cfg = CONFIGS[name]
    kernel = build(cfg, on_primitives(cfg), tmp_path)
    for seed in SEEDS:
        ops = sequence(cfg, seed)
        case = linear_case(cfg, f"seed {seed}", ops)
        compare(cfg, ops, kernel.run(case, 0.3, seed, timeout_cycles=500_000))
        result = kernel.run(case, timeout_cycles=200_000)
        compare(cfg, ops, result)
        measured = result.stamps["m_axis_status"] - result.stamps["s_axis_cmd"][0]
        assert list(measured) == linear_schedule(cfg, [work_of(cfg, op) for op in ops])


def test_primitives_lint_without_warning(tmp_path: Path) -> None:
    assert lint(write(on_primitives(SMALL), tmp_path), TOP) == ""


def test_macs_are_busy(kernels: Kernels) -> None:
    """129 tokens x 192 x 192 on 16 x 16 MACs: what is lost is start, last drain and end."""
    cfg = CONFIGS["block_ram"]
    rng = np.random.default_rng(1)
    x = rng.integers(-128, 128, (129, 192)).astype(np.int8)
    params = replace(random_params(rng, 192, 192, None), ternary=False)
    ops = [LinearOp(x, params, load_x=k == 0) for k in range(2)]
    result = kernels("block_ram").run(linear_case(cfg, "busy", ops))
    compare(cfg, ops, result)
    measured = result.stamps["m_axis_status"] - result.stamps["s_axis_cmd"][0]
    busy = 12 * 12 * 129
    lone, following = measured[0], measured[1] - measured[0]
    print(f"{busy / lone:.1%} of {lone} cycles, {busy / following:.1%} of a command in a row")
    assert lone == linear_cycles(cfg, 129, 129, 12, 12, 24, load_x=True)
    assert busy / lone > 0.98
    assert busy / following > 0.999


def test_under_cocotb(tmp_path: Path) -> None:
    cfg = SMALL
    all_ops = [sequence(cfg, 100 + seed) for seed in range(4)]
    cases = [linear_case(cfg, f"case {n}", ops) for n, ops in enumerate(all_ops)]
    sources = write(linear_rtl(cfg), tmp_path / "sv")
    for stall in (0.0, 0.4):
        results = run_cocotb(
            TOP, sources, cases, tmp_path / "cocotb", stall, seed=3, optimize="-O0"
        )
        for ops, result in zip(all_ops, results, strict=True):
            compare(cfg, ops, result)


FAULTS = {
    "no half at the first shift": ("hwmoe_requant.sv", "shift_1 == 2'd0,", "1'b0,"),
    "passes of two slots": ("hwmoe_linear_sequencer.sv", "int MIN_PASS = 3", "int MIN_PASS = 2"),
    "weights swapped a cycle early": (f"{TOP}.sv", ".swap(swap_q)", ".swap(swap)"),
    "words overwritten": ("hwmoe_linear_loader.sv", "(first >= old_stop)", "1'b1"),
}


PRIMITIVE_FAULTS = {
    "loads without stagger": ("hwmoe_dot_cascade.sv", ".CEA2(load[DELAY])", ".CEA2(load[0])"),
    "no rounding constant": ("hwmoe_dot_cascade.sv", ".RND(48'd1 << (SP - 1))", ".RND(48'd0)"),
}


@pytest.mark.parametrize("fault", [*FAULTS, *PRIMITIVE_FAULTS])
def test_a_planted_fault_is_found(fault: str, tmp_path: Path) -> None:
    file, right, wrong = (FAULTS | PRIMITIVE_FAULTS)[fault]
    files = on_primitives(SMALL) if fault in PRIMITIVE_FAULTS else linear_rtl(SMALL)
    assert files[file].count(right) == 1
    files[file] = files[file].replace(right, wrong)
    kernel = build(SMALL, files, tmp_path)

    def run_all() -> None:
        for seed in SEEDS:
            ops = sequence(SMALL, seed)
            case = linear_case(SMALL, f"seed {seed}", ops)
            compare(SMALL, ops, kernel.run(case, timeout_cycles=200_000))

    with pytest.raises((AssertionError, HwmoeError)):
        run_all()
