"""Logic levels from the log of Yosys."""

from __future__ import annotations

from pathlib import Path

from hwmoe.synth.levels import levels_of
from hwmoe.synth.yosys import LOG, synthesize

CHAIN = """
module deep (input logic clk, input logic [63:0] a, output logic y);
  logic [63:0] q;
  always_ff @(posedge clk) begin
    q <= a;
    y <= ^q;
  end
endmodule
module chain (input logic clk, input logic [63:0] a, output logic y, output logic z);
  deep i_deep (.clk, .a, .y);
  always_ff @(posedge clk) z <= y & a[0];
endmodule
"""

LOG_OF_TWO = """
Extracted 10 AND gates and 0 wires from module `$paramod\\hwmoe_fifo\\W=s32'1' to a netlist
ABC: Mapping (K=6)  :  lut =    368  edge =    1104  lev =    2 (0.12)  levB =    7  mem = 0.03 MB
Extracted 10 AND gates and 0 wires from module `$paramod\\hwmoe_fifo\\W=s32'2' to a netlist
ABC: Mapping (K=6)  :  lut =    368  edge =    1104  lev =    4 (0.12)  levB =    7  mem = 0.03 MB
Extracted 1 AND gates and 0 wires from module `\\hwmoe_skid' to a netlist network with 3 inputs
"""


def test_the_deepest_variant_of_a_module_counts() -> None:
    assert levels_of(LOG_OF_TWO) == {"hwmoe_fifo": 4}


def test_levels_of_a_real_run(tmp_path: Path) -> None:
    source = tmp_path / "chain.sv"
    source.write_text(CHAIN)
    synthesize([source], "chain", tmp_path / "work", timeout=120)
    found = levels_of((tmp_path / "work" / LOG).read_text(encoding="utf-8"))
    assert found["deep"] in (3, 4)  # 64 inputs through LUTs of 6, and how they were paired
    assert found["chain"] == 1
