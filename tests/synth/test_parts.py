"""A design mapped part by part costs what it costs in one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwmoe.errors import HwmoeError
from hwmoe.synth.parts import synthesize_parts
from hwmoe.synth.yosys import synthesize

DESIGN = """
module add #(parameter int W = 8)
    (input logic clk, input logic [W-1:0] a, b, output logic [W-1:0] y);
  always_ff @(posedge clk) y <= a + b;
endmodule
module pair (input logic clk, input logic [15:0] a, b, output logic [15:0] y);
  add #(.W(16)) i_add (.clk, .a, .b, .y);
endmodule
module whole (input logic clk, input logic [15:0] a, b, c, output logic [15:0] y, z);
  logic [15:0] first;
  pair i_first (.clk, .a, .b, .y(first));
  pair i_second (.clk, .a(first), .b(c), .y);
  add #(.W(16)) i_third (.clk, .a(first), .b(a), .y(z));
endmodule
"""


def test_the_sum_of_the_parts_is_the_whole(tmp_path: Path) -> None:
    source = tmp_path / "whole.sv"
    source.write_text(DESIGN)
    one = synthesize([source], "whole", tmp_path / "one", timeout=120)
    told: list[tuple[int, int]] = []
    parts = synthesize_parts(
        [source], "whole", ["pair"], tmp_path / "parts", 120, done=lambda *n: told.append(n)
    )
    assert parts == one
    assert one.total.ff == 48
    assert told == [(1, 2), (2, 2)]


def test_a_part_that_does_not_exist(tmp_path: Path) -> None:
    source = tmp_path / "whole.sv"
    source.write_text(DESIGN)
    with pytest.raises(HwmoeError, match="no_such"):
        synthesize_parts([source], "whole", ["no_such"], tmp_path / "parts", 120)
