// T_OUT dot products of T_IN int8 inputs with ternary weights, weight-stationary, in LUTs:
// y[o] = sum_i w[o][i] * x[i]. T_IN is a power of two, 8 or more; T_OUT a multiple of SLOTS.
//
// PRIMITIVE = 1 instantiates LUT6_2 and CARRY8 (hwmoe_ternary_tree), 0 computes the same in the
// same cycles as plain sums (hwmoe_ternary_twin), for fast simulation.
//
// Every cycle takes an x and gives a y, LATENCY cycles later: two registers in front, the pairs,
// and the levels of adders of three. No reset.
//
// Weights are codes of two bits, 1, -1 or 0, double-buffered. load[b] puts SLOTS rows of `rows` into
// the shadow weights of channels b * SLOTS and up; `swap` makes the shadow weights active from the
// x of its own cycle on. Both may come in any cycle; a load in the cycle of a swap belongs to the
// next weights.
module hwmoe_dot_ternary #(
    parameter int T_IN = 16,
    parameter int T_OUT = 16,
    parameter int SLOTS = 4,
    parameter bit PRIMITIVE = 0,
    parameter int LATENCY = 5,
    parameter int SUM_W = 9 + $clog2(T_IN)
) (
    input  logic                   clk,
    input  logic [T_OUT/SLOTS-1:0] load,
    input  logic [2*T_IN*SLOTS-1:0] rows,
    input  logic                   swap,
    input  logic [     8*T_IN-1:0] x,
    output logic [T_OUT*SUM_W-1:0] y
);
  logic [T_OUT/SLOTS-1:0] load_1;
  logic [2*T_IN*SLOTS-1:0] rows_1;
  logic swap_1;
  logic [8*T_IN-1:0] x_1, x_2;
  logic [2*T_IN*T_OUT-1:0] shadow, active;

  always_ff @(posedge clk) begin
    load_1 <= load;
    rows_1 <= rows;
    swap_1 <= swap;
    x_1    <= x;
    x_2    <= x_1;
    for (int b = 0; b < T_OUT / SLOTS; b++) begin
      if (load_1[b]) shadow[2*T_IN*SLOTS*b+:2*T_IN*SLOTS] <= rows_1;
    end
    if (swap_1) active <= shadow;
  end

  generate
    if (PRIMITIVE) begin : g_primitives
      for (genvar o = 0; o < T_OUT; o++) begin : g_channel
        hwmoe_ternary_tree #(
            .T_IN(T_IN)
        ) i_tree (
            .clk,
            .x(x_2),
            .codes(active[2*T_IN*o+:2*T_IN]),
            .y(y[SUM_W*o+:SUM_W])
        );
      end
    end else begin : g_twins
      logic [T_OUT*SUM_W-1:0] sums;

      for (genvar o = 0; o < T_OUT; o++) begin : g_channel
        hwmoe_ternary_twin #(
            .T_IN(T_IN)
        ) i_twin (
            .clk,
            .x(x_2),
            .codes(active[2*T_IN*o+:2*T_IN]),
            .y(sums[SUM_W*o+:SUM_W])
        );
      end

      hwmoe_dot_ring #(
          .W(T_OUT * SUM_W),
          .N(LATENCY - 3)
      ) i_ring (
          .clk,
          .d(sums),
          .q(y)
      );
    end
  endgenerate

`ifndef SYNTHESIS
  /* verilator lint_off PROCASSINIT */
  int settled = 8;  // cycles until a load can no longer be one of power-up
  /* verilator lint_on PROCASSINIT */

  always_ff @(posedge clk) begin
    if (settled > 0) settled <= settled - 1;
    else if (load_1 != '0) begin
      assert ((rows_1 & ~(rows_1 << 1) & {T_IN * SLOTS{2'b10}}) == '0)
      else $error("a weight of -2");
    end
  end
`endif
endmodule
