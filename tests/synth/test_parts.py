"""A design mapped part by part costs what it costs in one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwmoe.errors import HwmoeError
from hwmoe.synth.parts import needed, synthesize_parts
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


def test_a_run_reads_only_the_files_it_needs(tmp_path: Path) -> None:
    texts = [f"module {text}" for text in DESIGN.split("module ")[1:]]
    sources = [tmp_path / f"{name}.sv" for name in ("add", "pair", "whole")]
    for path, text in zip(sources, texts, strict=True):
        path.write_text(text)
    assert needed(sources, "whole") == sources
    assert needed(sources, "pair") == sources[:2]
    assert needed(sources, "whole", ["pair"]) == sources
    (tmp_path / "inner.sv").write_text("module inner; endmodule")
    sources[1].write_text(texts[1].replace("endmodule\n", "inner i_inner ();\nendmodule\n"))
    every = [*sources, tmp_path / "inner.sv"]
    assert needed(every, "whole", ["pair"]) == sources
    assert needed(every, "pair") == [every[0], every[1], every[3]]
