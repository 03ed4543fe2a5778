// T_IN x T_OUT int8 MACs of one token lane, weight-stationary: y[o] = sum_i w[o][i] * x[i].
//
// Weights are double-buffered. `load[o]` puts row o % SLOTS of `rows` into the shadow weights of
// channel o; `swap` makes the shadow weights active from the x of its own cycle on. A row may be
// loaded in the cycle of a swap: it belongs to the next tile. Every cycle takes an x and gives a y,
// LATENCY = 3 + clog2(T_IN) cycles later; the caller delays what it has to know about it.
// No reset: nothing here decides anything. A DSP48E2 cascade can replace the body.
module hwmoe_mac_tile #(
    parameter int T_IN = 16,
    parameter int T_OUT = 16,
    parameter int SLOTS = 4,
    parameter int SUM_W = 16 + $clog2(T_IN)
) (
    input  logic                     clk,
    input  logic [        T_OUT-1:0] load,
    input  logic [8*T_IN*SLOTS-1:0] rows,
    input  logic                     swap,
    input  logic [       8*T_IN-1:0] x,
    output logic [ T_OUT*SUM_W-1:0] y
);
  logic [8*T_IN*SLOTS-1:0] rows_q;
  logic [      8*T_IN-1:0] x_1;
  logic [      8*T_IN-1:0] x_2;

  always_ff @(posedge clk) begin
    rows_q <= rows;
    x_1    <= x;
    x_2    <= x_1;
  end

  generate
    for (genvar o = 0; o < T_OUT; o++) begin : g_channel
      hwmoe_dot #(
          .T_IN(T_IN)
      ) i_dot (
          .clk,
          .load(load[o]),
          .weights(rows_q[8*T_IN*(o%SLOTS)+:8*T_IN]),
          .swap,
          .x(x_2),
          .y(y[SUM_W*o+:SUM_W])
      );
    end
  endgenerate
endmodule
