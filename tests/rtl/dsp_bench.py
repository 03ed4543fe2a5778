"""Instances of hwmoe_dot_pairs, cascades beside twins, compiled; and what is driven into them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import hwmoe
from hwmoe.sim.compiled import CompiledKernel
from hwmoe.sim.streams import StreamCase

RTL = Path(hwmoe.__file__).parent / "templates" / "rtl"
SOURCES = [*sorted((RTL / "dsp").glob("*.sv")), RTL / "lib" / "hwmoe_adder_tree.sv"]
TAPS = (1, 2, 7, 8, 15, 16, 35)  # 35: chains of 12, 12 and 11
WIDEST = max(TAPS)


def chains(t_in: int) -> int:
    return -(-t_in // 16)


def depth(t_in: int) -> int:
    """K: taps of the longest chain."""
    return -(-t_in // chains(t_in))


def latency(t_in: int) -> int:
    return depth(t_in) + 4 + (chains(t_in) - 1).bit_length()


# hwmoe_dot_pairs with the stagger of its loads, as in the linear kernel.
LOADED = """
module loaded{fault} #(
    parameter int T_IN = 1, parameter bit PRIMITIVE = 0, parameter int STEPS = 1
) (
    input clk, input [1:0] load, input [2*8*T_IN-1:0] rows, input swap, input [8*T_IN-1:0] x,
    output [2*(16+$clog2(T_IN))-1:0] y);
  wire [2*STEPS-1:0] load_late;
  wire [16*T_IN-1:0] fields, fields_late;
  reg [16*T_IN-1:0] rows_late;
  hwmoe_dot_pulse #(.T_IN(T_IN), .N(2), .PRIMITIVE(PRIMITIVE)) i_load (
      .clk, .d(load), .q(load_late));
  hwmoe_dot_skew #(.T_IN(T_IN), .FIELD(16), .PRIMITIVE(PRIMITIVE)) i_rows (
      .clk, .d(fields), .q(fields_late));
  for (genvar i = 0; i < T_IN; i++) begin : g_tap
    assign fields[16*i+:16] = {{rows[8*(T_IN+i)+:8], rows[8*i+:8]}};
    always @(posedge clk) {{rows_late[8*(T_IN+i)+:8], rows_late[8*i+:8]}} <= fields_late[16*i+:16];
  end
  hwmoe_dot_pairs{fault} #(.T_IN(T_IN), .T_OUT(2), .SLOTS(2), .PRIMITIVE(PRIMITIVE)) i_pairs (
      .clk, .load(load_late), .rows(rows_late), .swap, .x, .y);
endmodule
"""

INSTANCE = """
  wire [{sum_w}-1:0] p{name}_0, p{name}_1, q{name}_0, q{name}_1;
  wire on{name} = s_axis_c_TVALID && s_axis_c_TDATA[8+{index}];
  wire [2*8*{t}-1:0] rows{name} = {{row_1[8*{t}-1:0], row_0[8*{t}-1:0]}};
  loaded{fault} #(.T_IN({t}), .PRIMITIVE(1), .STEPS({depth})) i_dsp{name} (
      .clk(ap_clk), .load(load & {{2{{on{name} & ~skip[0]}}}}), .rows(rows{name}),
      .swap(swap && on{name}), .x(x[8*{t}-1:0]), .y({{p{name}_1, p{name}_0}}));
  loaded #(.T_IN({t}), .PRIMITIVE(0), .STEPS(1)) i_twin{name} (
      .clk(ap_clk), .load(load & {{2{{on{name} & ~skip[1]}}}}), .rows(rows{name}),
      .swap(swap && on{name}), .x(x[8*{t}-1:0]), .y({{q{name}_1, q{name}_0}}));
  reg [{latency}-1:0] valids{name};
  always @(posedge ap_clk)
    if (!ap_rst_n) valids{name} <= 0;
    else valids{name} <= {latency}'({{valids{name}, on{name}}});
  assign m_axis_y{name}_TVALID = valids{name}[{latency}-1];
  assign m_axis_y{name}_TDATA = {{32'($signed(q{name}_1)), 32'($signed(q{name}_0)),
                                  32'($signed(p{name}_1)), 32'($signed(p{name}_0))}};
"""

Instance = tuple[int, str]  # T_IN, and the fault of its cascade ("" for none)


def port(instance: Instance) -> str:
    return f"m_axis_y{instance[0]}{instance[1]}"


def bench(instances: Sequence[Instance]) -> str:
    ports = "".join(
        f",\n    output [127:0] {port(one)}_TDATA, output {port(one)}_TVALID,"
        f" input {port(one)}_TREADY"
        for one in instances
    )
    bodies = "".join(
        INSTANCE.format(
            name=f"{t}{fault}",
            t=t,
            fault=fault,
            index=index,
            latency=latency(t),
            depth=depth(t),
            sum_w=16 + (t - 1).bit_length(),
        )
        for index, (t, fault) in enumerate(instances)
    )
    width = 8 * WIDEST
    loaded = "".join(LOADED.format(fault=fault) for fault in {"", *(f for _, f in instances)})
    return f"""{loaded}
module dsp_bench (
    input ap_clk, input ap_rst_n,
    input [{16 + 3 * width}-1:0] s_axis_c_TDATA, input s_axis_c_TVALID, output s_axis_c_TREADY
    {ports});
  wire [1:0] load = s_axis_c_TDATA[1:0];
  wire swap = s_axis_c_TDATA[2];
  wire [1:0] skip = s_axis_c_TDATA[4:3];
  wire [{width}-1:0] x = s_axis_c_TDATA[16+:{width}];
  wire [{width}-1:0] row_0 = s_axis_c_TDATA[{16 + width}+:{width}];
  wire [{width}-1:0] row_1 = s_axis_c_TDATA[{16 + 2 * width}+:{width}];
  assign s_axis_c_TREADY = 1;
{bodies}
endmodule
"""


@dataclass
class Bench:
    instances: Sequence[Instance]
    kernel: CompiledKernel

    def run(self, script: Script, chosen: Sequence[Instance]) -> list[np.ndarray]:
        """int32 [cycles, (cascade, twin), channel] of each; holds them to their latency."""
        beats = script.beats(sum(1 << self.instances.index(one) for one in chosen))
        outputs = {port(one): len(beats) for one in chosen}
        result = self.kernel.run(StreamCase("dsp", {"s_axis_c": beats}, outputs))
        for one in chosen:
            late = result.stamps[port(one)] - result.stamps["s_axis_c"]
            assert (late == latency(one[0])).all()
        return [result.outputs[port(one)].view("<i4").reshape(-1, 2, 2) for one in chosen]

    def check(self, script: Script, taps: Sequence[int] = TAPS) -> None:
        for t, got in zip(taps, self.run(script, [(t, "") for t in taps]), strict=True):
            want = script.expected(t)
            assert (got[:, 0] == want).all(), f"{t} inputs: the cascade is wrong"
            assert (got[:, 1] == want).all(), f"{t} inputs: the twin is wrong"

    def error(self, script: Script, instance: Instance) -> np.ndarray:
        """Cascade minus truth [cycles, channel] of a faulty one; the twin is right."""
        (got,), want = self.run(script, [instance]), script.expected(instance[0])
        assert (got[:, 1] == want).all()
        return got[:, 0] - want


@dataclass
class Script:
    """What is driven, a row a cycle: x [n, WIDEST], rows [n, 2, WIDEST], load [n, 2], swap [n].

    skip: which side takes no loads; bit 0 the cascade, bit 1 the twin.
    """

    x: np.ndarray
    rows: np.ndarray
    load: np.ndarray
    swap: np.ndarray
    skip: int = 0

    @classmethod
    def idle(cls, cycles: int) -> Script:
        return cls(
            np.zeros((cycles, WIDEST), np.int8),
            np.zeros((cycles, 2, WIDEST), np.int8),
            np.zeros((cycles, 2), bool),
            np.zeros(cycles, bool),
        )

    @classmethod
    def blocks(cls, weights: np.ndarray, x: np.ndarray) -> Script:
        """Every pair of rows in weights [s, 2, t] with every one of x [s, n, t]."""
        count, length, width = x.shape
        script = cls.idle(1 + count * length)
        starts = 1 + length * np.arange(count)
        script.x[1:, :width] = x.reshape(-1, width)
        script.swap[starts] = True
        loads = np.concatenate([[0], starts[:-1]])  # with the swap to the block before
        script.load[loads] = True
        script.rows[loads, :, :width] = weights
        return script

    def beats(self, mask: int) -> np.ndarray:
        n = len(self.x)
        head = np.zeros((n, 2), np.uint8)
        head[:, 0] = self.load[:, 0] | self.load[:, 1] << 1 | self.swap << 2 | self.skip << 3
        head[:, 1] = mask
        body = (self.x.view(np.uint8), self.rows.reshape(n, -1).view(np.uint8))
        return np.ascontiguousarray(np.concatenate([head, *body], axis=1))

    def expected(self, t_in: int) -> np.ndarray:
        """y [n, 2] of the first `t_in` inputs, from the definition alone."""
        x, rows = self.x[:, :t_in].astype(np.int64), self.rows[:, :, :t_in].astype(np.int64)
        y = np.zeros((len(x), 2), np.int64)
        shadow, active = np.zeros((2, t_in), np.int64), np.zeros((2, t_in), np.int64)
        events = np.flatnonzero(self.load.any(axis=1) | self.swap)
        for n, after in zip(events, [*events[1:], len(x)], strict=True):
            if self.swap[n]:
                active = shadow.copy()
            shadow[self.load[n]] = rows[n][self.load[n]]
            y[n:after] = x[n:after] @ active.T
        return y


def variant(folder: Path, name: str, changes: Mapping[str, str]) -> list[Path]:
    """A faulty hwmoe_dot_cascade, and a hwmoe_dot_pairs{name} on top of it."""
    cascade = (RTL / "dsp" / "hwmoe_dot_cascade.sv").read_text()
    for old, new in changes.items():
        assert cascade.count(old) == 1, old
        cascade = cascade.replace(old, new)
    pairs = (RTL / "dsp" / "hwmoe_dot_pairs.sv").read_text()
    paths = []
    for text, module in ((cascade, "hwmoe_dot_cascade"), (pairs, "hwmoe_dot_pairs")):
        for known in ("hwmoe_dot_cascade", "hwmoe_dot_pairs"):
            text = re.sub(rf"\b{known}\b", known + name, text)
        paths.append(folder / f"{module}{name}.sv")
        paths[-1].write_text(text)
    return paths


def build(folder: Path, instances: Sequence[Instance], extra: Sequence[Path] = ()) -> Bench:
    top = folder / "dsp_bench.sv"
    top.write_text(bench(instances))
    kernel = CompiledKernel(
        "dsp_bench",
        [top, *SOURCES, *extra],
        {"s_axis_c": 2 + 3 * WIDEST},
        {port(one): 16 for one in instances},
        folder / "build",
        optimize="-O0",
    )
    return Bench(instances, kernel)
