"""The linear kernel for ternary weights, `hwmoe_expert`: on twins and on LUT6_2 and CARRY8."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_bench import compiled, write
from linear_ops import Commands, compare, work_of
from some import mostly_slow

from hwmoe.codegen.rtl_linear import linear_rtl
from hwmoe.dse.linear_cycles import linear_schedule
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import LinearConfig
from hwmoe.sim.compiled import CompiledKernel
from hwmoe.sim.kernel_cases import LinearOp, linear_case, linear_widths
from hwmoe.sim.verilator import lint
from hwmoe.synth.yosys import synthesize

pytestmark = pytest.mark.xdist_group("ternary_rtl")

TOP = "hwmoe_expert"
CONFIGS = {
    "four": LinearConfig(t_in=8, t_out=4, t_tok=1, t_epi=4, w_rows=1, max_tokens=17, x_words=64),
    "eight": LinearConfig(t_in=8, t_out=16, t_tok=2, t_epi=8, w_rows=1, max_tokens=33, x_words=256),
    "sixteen": LinearConfig(
        t_in=16, t_out=24, t_tok=1, t_epi=8, w_rows=2, max_tokens=130, x_words=2048
    ),
    "deep": LinearConfig(t_in=32, t_out=8, t_tok=3, t_epi=4, w_rows=1, max_tokens=20, x_words=64),
}
SMALL = "four"
SEEDS = range(30)
EACH = [(name, primitive) for name in CONFIGS for primitive in (False, True)]
QUICK = [(name, primitive) for name, primitive in EACH if not primitive or name == SMALL]
Kernels = Callable[[str, bool], CompiledKernel]


def cell_models() -> str:
    """LUT6_2 and CARRY8 as Yosys ships them; a default that is not theirs is declared."""
    pyosys = pytest.importorskip("pyosys")
    cells = (Path(pyosys.__file__).parent / "share" / "xilinx" / "cells_sim.v").read_text()
    found = [re.search(rf"^module {name}\(.*?^endmodule$", cells, re.M | re.S) for name in CELLS]
    return "".join(f"{match[0]}\n" for match in found if match)


CELLS = ("LUT6_2", "CARRY8")


def on_primitives(cfg: LinearConfig) -> dict[str, str]:
    """The sources with the cells in simulation too."""
    files = linear_rtl(cfg, "expert")
    twin, primitive = "bit PRIMITIVE = 0;", "bit PRIMITIVE = 1;"
    assert files[f"{TOP}.sv"].count(twin) == 1
    files[f"{TOP}.sv"] = files[f"{TOP}.sv"].replace(twin, primitive)
    waived = "/* verilator lint_off DECLFILENAME */\n/* verilator lint_off UNUSEDSIGNAL */\n"
    return files | {"cells.v": waived + cell_models()}


def build(cfg: LinearConfig, files: Mapping[str, str], folder: Path) -> CompiledKernel:
    return compiled(TOP, files, linear_widths(cfg), folder, "-O0")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    built: dict[tuple[str, bool], CompiledKernel] = {}

    def get(name: str, primitive: bool) -> CompiledKernel:
        if (name, primitive) not in built:
            cfg = CONFIGS[name]
            files = on_primitives(cfg) if primitive else linear_rtl(cfg, "expert")
            built[name, primitive] = build(cfg, files, tmp_path_factory.mktemp(name))
        return built[name, primitive]

    return get


def sequence(cfg: LinearConfig, seed: int) -> list[LinearOp]:
    """One to six commands with ternary weights; the last one's sums are as large as can be."""
    rng = np.random.default_rng(seed)
    ops = []
    for op in Commands(cfg, seed).draw(1 + seed % 6):
        weight = rng.choice([-1, 0, 1], op.params.weight.shape, p=rng.dirichlet([1, 1, 1]))
        params = replace(op.params, weight=weight.astype(np.int8), ternary=True)
        ops.append(replace(op, params=params))
    if seed % 3:
        return ops
    x = rng.choice([-128, 127], (cfg.max_tokens, cfg.t_in)).astype(np.int8)
    x[0], x[-1] = -128, 127
    last = replace(ops[-1].params, weight=rng.choice([-1, 1], (2 * cfg.t_out, cfg.t_in)))
    last.weight[0], last.weight[-1] = -1, 1
    zero = np.zeros(2 * cfg.t_out, np.int32)
    last = replace(
        last, weight=last.weight.astype(np.int8), bias=zero, multiplier=zero + 512, shift=9,
        wide=True, table=None,
    )  # fmt: skip
    return [*ops, LinearOp(x, last)]


@pytest.mark.parametrize("which", mostly_slow(EACH, QUICK))
def test_lint_finds_nothing(which: tuple[str, bool], tmp_path: Path) -> None:
    name, primitive = which
    files = on_primitives(CONFIGS[name]) if primitive else linear_rtl(CONFIGS[name], "expert")
    found = lint(write(files, tmp_path), TOP).splitlines()
    assert [line for line in found if "cells.v" not in line and line.startswith("%")] == []


@pytest.mark.parametrize("which", mostly_slow(EACH, QUICK))
def test_values_clip_counts_and_cycles(which: tuple[str, bool], kernels: Kernels) -> None:
    """Those of the reference and of the formula, whatever computes them."""
    cfg, kernel = CONFIGS[which[0]], kernels(*which)
    for seed in SEEDS:
        ops = sequence(cfg, seed)
        case = linear_case(cfg, f"seed {seed}", ops)
        compare(cfg, ops, kernel.run(case, 0.4, seed, timeout_cycles=500_000))
        result = kernel.run(case, timeout_cycles=200_000)
        compare(cfg, ops, result)
        measured = result.stamps["m_axis_status"] - result.stamps["s_axis_cmd"][0]
        works = [work_of(cfg, op) for op in ops]
        assert list(measured) == linear_schedule(cfg, works, "expert")


def test_forbidden_weight_is_reported(kernels: Kernels) -> None:
    """Code 10 is no weight; the primitives and the twin would not agree on it."""
    cfg = CONFIGS[SMALL]
    case = linear_case(cfg, "a weight of -2", sequence(cfg, 1))
    case.inputs["s_axis_w"][0, 0] = 2
    with pytest.raises(HwmoeError, match="hwmoe_dot_ternary"):
        kernels(SMALL, False).run(case, timeout_cycles=200_000)


# file, what is right, what is wrong; whether it is of the primitives
FAULTS = {
    "a term's select": ("hwmoe_ternary_pair.sv", "48B7B74848484848", "48B7B74848484808", True),
    "no carry for -x": ("hwmoe_ternary_tree.sv", ".carry(codes[4*k+1])", ".carry(1'b0)", True),
    "nothing owed": ("hwmoe_ternary_tree.sv", "owed[k] = codes[4*k+3]", "owed[k] = 1'b0", True),
    "the carry saved": ("hwmoe_ternary_add3.sv", "E8E8E8E8", "E8E8E8C8", True),
    "swapped at once": ("hwmoe_dot_ternary.sv", "if (swap_1)", "if (swap)", False),
    "loads not delayed": ("hwmoe_dot_ternary.sv", "if (load_1[b])", "if (load[b])", False),
}
QUICK_FAULTS = ("no carry for -x", "swapped at once", "loads not delayed")


@pytest.mark.parametrize("fault", mostly_slow(FAULTS, QUICK_FAULTS))
def test_a_planted_fault_is_found(fault: str, tmp_path: Path) -> None:
    cfg = CONFIGS[SMALL]
    file, right, wrong, primitive = FAULTS[fault]
    files = on_primitives(cfg) if primitive else linear_rtl(cfg, "expert")
    assert files[file].count(right) == 1
    files[file] = files[file].replace(right, wrong)
    kernel = build(cfg, files, tmp_path)

    def run_all() -> None:
        for seed in SEEDS:
            ops = sequence(cfg, seed)
            compare(cfg, ops, kernel.run(linear_case(cfg, "", ops), timeout_cycles=200_000))

    with pytest.raises((AssertionError, HwmoeError)):
        run_all()


@pytest.mark.slow
def test_cells_a_mac(tmp_path: Path) -> None:
    """What Yosys makes of the array: LUTs of the sums and nothing else but registers."""
    t_in, t_out = 32, 8
    sources = write(linear_rtl(CONFIGS["deep"], "expert"), tmp_path / "rtl")
    top = tmp_path / "rtl" / "top.sv"
    top.write_text(
        f"module top (input logic clk, input logic load, input logic [{2 * t_in * t_out - 1}:0]"
        f" rows, input logic swap, input logic [{8 * t_in - 1}:0] x,"
        f" output logic [{t_out * 14 - 1}:0] y);\n"
        f"  hwmoe_dot_ternary #(.T_IN({t_in}), .T_OUT({t_out}), .SLOTS({t_out}), .PRIMITIVE(1),"
        " .LATENCY(6)) i_dut (.clk, .load, .rows, .swap, .x, .y);\nendmodule\n"
    )
    used = [path for path in sources if "ternary" in path.name or "ring" in path.name]
    cells = synthesize([*used, top], "top", tmp_path / "work").total
    print(f"{cells.lut / t_in / t_out:.2f} LUT and {cells.ff / t_in / t_out:.2f} FF a MAC")
    assert cells.lut <= 7.6 * t_in * t_out
    assert cells.dsp == cells.lutram == 0
