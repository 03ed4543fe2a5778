"""Yosys proves for all inputs that the cells of a ternary lane add what they are said to add."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hwmoe

LUT = Path(hwmoe.__file__).parent / "templates" / "rtl" / "lut"
CARRY = LUT / "hwmoe_ternary_carry.sv"
PAIR = """
module gold (input [15:0] x, input [3:0] codes, input carry, output [8:0] sum);
  function automatic signed [8:0] term(input [7:0] value, input [1:0] code);
    case (code)
      2'b01: term = {value[7], value};
      2'b11: term = ~{value[7], value};
      default: term = 0;
    endcase
  endfunction
  assign sum = term(x[7:0], codes[1:0]) + term(x[15:8], codes[3:2]) + 9'(carry);
endmodule
module gate (input [15:0] x, input [3:0] codes, input carry, output [8:0] sum);
  wire [3:0] legal = {codes[3] & codes[2], codes[2], codes[1] & codes[0], codes[0]};
  hwmoe_ternary_pair i_pair (.x, .codes(legal), .carry, .sum);
endmodule
"""
ADD3 = """
module gold (input [10:0] a, b, c, input [1:0] carries, output [10:0] sum);
  assign sum = a + b + c + carries[0] + carries[1];
endmodule
module gate (input [10:0] a, b, c, input [1:0] carries, output [10:0] sum);
  hwmoe_ternary_add3 #(.W(11)) i_add (.a, .b, .c, .carries, .sum);
endmodule
"""


def proves(bench: str, cell: Path, folder: Path) -> bool:
    """Whether `gate` is `gold`, by SAT."""
    (folder / "top.sv").write_text(bench)
    (folder / "cell.sv").write_text(cell.read_text() + CARRY.read_text())
    return run(folder)


def run(folder: Path) -> bool:
    flatten = "prep -flatten -top"
    script = (
        "read_verilog +/xilinx/cells_sim.v\n"
        "read_verilog -sv -noautowire cell.sv top.sv\n"
        "design -save all\n"
        f"{flatten} gold\nrename gold gold_flat\ndesign -stash gold\n"
        f"design -load all\n{flatten} gate\nrename gate gate_flat\ndesign -stash gate\n"
        "design -copy-from gold gold_flat\ndesign -copy-from gate gate_flat\n"
        "miter -equiv -make_outputs -flatten gold_flat gate_flat miter\n"
        "sat -verify -prove trigger 0 -show-inputs miter\n"
    )
    (folder / "prove.ys").write_text(script)
    program = (
        "from pyosys import libyosys\ndesign = libyosys.Design()\n"
        "for line in open('prove.ys'):\n    libyosys.run_pass(line.strip(), design)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=600
    )
    (folder / "log").write_text(done.stdout + done.stderr)
    assert "proof finished" in done.stdout, done.stdout[-2000:] + done.stderr
    return done.returncode == 0


CASES = {"pair": PAIR, "add3": ADD3}


@pytest.mark.parametrize("name", CASES)
def test_cells_are_the_sum(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyosys")
    assert proves(CASES[name], LUT / f"hwmoe_ternary_{name}.sv", tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_sum_is_refuted(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyosys")
    wrong = {"pair": "48B7B74848484808", "add3": "69966996E8E8E8C8"}[name]
    text = (LUT / f"hwmoe_ternary_{name}.sv").read_text()
    right = {"pair": "48B7B74848484848", "add3": "69966996E8E8E8E8"}[name]
    cell = tmp_path / "wrong.sv"
    cell.write_text(text.replace(right, wrong))
    assert not proves(CASES[name], cell, tmp_path)
