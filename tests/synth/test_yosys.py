"""Multipliers and memories that Yosys finds in the kernels, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwmoe.codegen.rtl_attention import attention_rtl
from hwmoe.codegen.rtl_linear import linear_rtl
from hwmoe.dse.resources import kernel_multipliers
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig, AttentionConfig, LinearConfig
from hwmoe.synth.resources import Cells, Resources, base_name, resources_of
from hwmoe.synth.yosys import synthesize

ODD = AcceleratorConfig(
    linear=LinearConfig(t_in=3, t_out=12, t_tok=2, t_epi=3, max_tokens=10, x_words=128),
    attention=AttentionConfig(rows=3, dim_lanes=3, head_units=2, max_tokens=1024, max_dim_tiles=8),
)
DEEP = LinearConfig(t_in=8, t_out=8, t_epi=8, max_tokens=256, x_words=4096)


def blocks(config: LinearConfig | AttentionConfig, folder: Path) -> Resources:
    """Multipliers and memories of one kernel; the logic is not mapped, which takes longest."""
    linear = isinstance(config, LinearConfig)
    files = linear_rtl(config) if linear else attention_rtl(config)
    for name, text in files.items():
        (folder / name).write_text(text)
    top = "hwmoe_linear" if linear else "hwmoe_attention"
    return synthesize([folder / name for name in files], top, folder / "work", luts=False)


def test_odd_machine(tmp_path: Path) -> None:
    """Two token lanes, an address too short for a DSP; rows in pairs and one, two units, deep."""
    (tmp_path / "linear").mkdir()
    (tmp_path / "attention").mkdir()
    linear = blocks(ODD.linear, tmp_path / "linear")
    attention = blocks(ODD.attention, tmp_path / "attention")
    assert linear.total.dsp + attention.total.dsp == kernel_multipliers(ODD)
    where = {m.name: m.cells.dsp for m in linear.modules if m.cells.dsp}
    assert where == {"hwmoe_dot_cascade": 2 * 3 * 6, "hwmoe_requant": 3}

    cells = {m.name: m.cells for m in attention.modules}
    where = {name: c.dsp for name, c in cells.items() if c.dsp}
    assert where == {"hwmoe_attn_mul": 2 * 6, "hwmoe_attn_prob": 6, "hwmoe_attn_scale": 6}
    rows = next(m for m in attention.modules if m.name == "hwmoe_attn_row")
    assert rows.instances == 6
    assert attention.total.ramb36 == 6  # the scores of each row: 1024 words of up to 36 bits
    assert attention.total.ramb18 == 0
    assert {name for name, c in cells.items() if c.lutram} == {"hwmoe_attn_acc", "hwmoe_ram_sdp"}


def test_deep_linear_memories_are_block_ram(tmp_path: Path) -> None:
    linear = blocks(DEEP, tmp_path)
    assert linear.total.dsp == 32 + 8 + 1  # the address has one
    cells = {m.name: m.cells for m in linear.modules}
    ram = cells["hwmoe_ram_sdp"]
    # 4096 words of 64 bits, 9 bits a block; two pages of 216 bits, 72 a block
    assert ram.ramb36 == 8 + 2 * 3
    assert ram.ramb18 == 1  # the list: 512 words of 12 bits
    assert ram.lutram == 8 * 64  # the table of each rescaling lane, and nothing else
    assert {n for n, c in cells.items() if c.lutram} == {"hwmoe_ram_sdp", "hwmoe_fifo"}
    assert {n for n, c in cells.items() if c.bram36} == {"hwmoe_ram_sdp"}


def write(folder: Path, name: str, text: str) -> list[Path]:
    (folder / name).write_text(text)
    return [folder / name]


def test_a_latch_is_refused_with_its_module(tmp_path: Path) -> None:
    text = """
module inner (input logic e, input logic d, output logic q);
  always_latch if (e) q = d;
endmodule
module outer (input logic e, input logic [1:0] d, output logic [1:0] q);
  inner a (.e, .d(d[0]), .q(q[0]));
  inner b (.e, .d(d[1]), .q(q[1]));
endmodule
"""
    sources = write(tmp_path, "outer.sv", text)
    with pytest.raises(HwmoeError, match=r"latches .* in inner \(2\)"):
        synthesize(sources, "outer", tmp_path / "work", luts=False)


def test_what_yosys_rejects_is_said(tmp_path: Path) -> None:
    port = "(input logic e, input logic d, output logic q)"
    cases = {
        "syntax": ("assign q = e +;", r"syntax\.sv:2: ERROR: syntax error"),
        "comb": ("always_comb if (e) q = d;", r"Latch inferred for signal `\\comb\.\\q'"),
        "undeclared": ("assign q = f;", r"undeclared\.sv:2: ERROR: ?.*\\f' is implicitly declared"),
        "lost": ("nowhere n (.e, .d, .q);", r"Module `\\nowhere' .* not part of the design"),
    }
    for top, (body, message) in cases.items():
        sources = write(tmp_path, f"{top}.sv", f"module {top} {port};\n  {body}\nendmodule\n")
        with pytest.raises(HwmoeError, match=message) as caught:
            synthesize(sources, top, tmp_path / "work")
        assert str(tmp_path / "work" / "yosys.log") in str(caught.value)
    with pytest.raises(HwmoeError, match="no such file"):
        synthesize([tmp_path / "gone.sv"], "gone", tmp_path / "work")


def test_the_cache_follows_the_sources(tmp_path: Path) -> None:
    text = "module top (input logic c, d, output logic q);\n{}  always_ff @(posedge c) q <= {};\n"
    folder = tmp_path / "a folder with blanks"
    folder.mkdir()
    sources = write(folder, "top.sv", text.format("", "d") + "endmodule\n")
    work = folder / "work"
    assert synthesize(sources, "top", work, luts=False).total == Cells(ff=1)
    before = (work / "stat.json").stat().st_mtime_ns
    assert synthesize(sources, "top", work, luts=False).total == Cells(ff=1)
    assert (work / "stat.json").stat().st_mtime_ns == before
    more = "  logic e;\n  always_ff @(posedge c) e <= d;\n"
    write(folder, "top.sv", text.format(more, "e ^ d") + "endmodule\n")
    assert synthesize(sources, "top", work, luts=False).total == Cells(ff=2)
    # All the way to LUTs is another result.
    assert synthesize(sources, "top", work).total == Cells(ff=2, lut=1)


def test_time_limit(tmp_path: Path) -> None:
    sources = write(tmp_path, "top.sv", "module top (input logic d);\nendmodule\n")
    with pytest.raises(HwmoeError, match="did not finish within"):
        synthesize(sources, "top", tmp_path / "work", timeout=0.2)
    assert not (tmp_path / "work" / "key").exists()


def test_counting_through_the_hierarchy() -> None:
    """Two derivations of one module, one of them inside another that stands three times."""
    small, large = r"$paramod\leaf\W=s32'01", r"$paramod$0123abcd\leaf"
    stat = {
        "modules": {
            "\\top": {"num_cells_by_type": {"mid": 3, large: 1, "LUT6": 2, "$scopeinfo": 9}},
            "\\mid": {"num_cells_by_type": {small: 2, "INV": 1}},
            small: {"num_cells_by_type": {"FDRE": 1, "RAM64M8": 1, "RAMB18E2": 1}},
            large: {"num_cells_by_type": {"FDSE": 5, "RAMB36E2": 1}},
            "\\unused": {"num_cells_by_type": {"LUT6": 100}},
        }
    }
    found = resources_of(json.loads(json.dumps(stat)), "top")
    modules = {m.name: (m.instances, m.cells) for m in found.modules}
    assert modules["leaf"] == (7, Cells(ff=6 + 5, lutram=48, ramb18=6, ramb36=1))
    assert modules["mid"] == (3, Cells())
    assert modules["top"] == (1, Cells(lut=2))
    assert set(modules) == {"leaf", "mid", "top"}
    assert found.total == Cells(lut=2, ff=11, lutram=48, ramb18=6, ramb36=1)
    assert found.total.bram36 == 4
    assert found.total.lut_sites == 50
    assert found.other == {"INV": 3}
    assert base_name(small) == base_name(large) == "leaf"
