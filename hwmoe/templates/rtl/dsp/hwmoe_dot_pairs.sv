// T_OUT int8 dot products of T_IN inputs, weight-stationary: y[o] = sum_i w[o][i] * x[i], two
// products a DSP48E2. T_OUT and SLOTS are even, SLOTS <= T_OUT.
//
// PRIMITIVE = 1 instantiates the primitives (hwmoe_dot_cascade), 0 computes the same in the same
// cycles as plain sums (hwmoe_dot_twin), for fast simulation. docs/dsp.md says what is proven.
//
// Every cycle takes an x and gives a y, LATENCY = K + 4 + clog2(CHAINS) cycles later, with
// CHAINS = ceil(T_IN / 16) and K = ceil(T_IN / CHAINS). No reset.
//
// Weights, in [-127, 127], are double-buffered. A load puts row o % SLOTS of `rows` into the shadow
// weights of channel o, of the SHARE channels of one o / SHARE at once; `swap` makes the shadow
// weights active from the x of its own cycle on. Both may come in any cycle; a load in the cycle of
// a swap belongs to the next weights.
// Loads come staggered by tap, once for all the instances that share them: `load` out of
// hwmoe_dot_pulse, `rows` out of hwmoe_dot_skew and one register. The cycle of a load is the one
// in which they go in there.
module hwmoe_dot_pairs #(
    parameter int T_IN = 16,
    parameter int T_OUT = 16,
    parameter int SLOTS = 4,
    parameter int SHARE = 1,
    parameter bit PRIMITIVE = 0,
    parameter int CHAINS = (T_IN + 15) / 16,
    parameter int K = (T_IN + CHAINS - 1) / CHAINS,
    parameter int STEPS = PRIMITIVE ? K : 1,
    parameter int SUM_W = 16 + $clog2(T_IN)
) (
    input  logic                         clk,
    input  logic [T_OUT/SHARE*STEPS-1:0] load,
    input  logic [     8*T_IN*SLOTS-1:0] rows,
    input  logic                         swap,
    input  logic [           8*T_IN-1:0] x,
    output logic [      T_OUT*SUM_W-1:0] y
);
  logic [ STEPS-1:0] swap_late;
  logic [8*T_IN-1:0] x_late;

  hwmoe_dot_pulse #(
      .T_IN(T_IN),
      .PRIMITIVE(PRIMITIVE)
  ) i_swap (
      .clk,
      .d(swap),
      .q(swap_late)
  );

  hwmoe_dot_skew #(
      .T_IN(T_IN),
      .PRIMITIVE(PRIMITIVE)
  ) i_x (
      .clk,
      .d(x),
      .q(x_late)
  );

  generate
    if (PRIMITIVE) begin : g_primitives
      for (genvar o = 0; o < T_OUT; o += 2) begin : g_pair
        hwmoe_dot_cascade #(
            .T_IN(T_IN)
        ) i_cascade (
            .clk,
            .load({load[K*((o+1)/SHARE)+:K], load[K*(o/SHARE)+:K]}),
            .rows(rows[8*T_IN*(o%SLOTS)+:2*8*T_IN]),
            .swap(swap_late),
            .x(x_late),
            .y(y[SUM_W*o+:2*SUM_W])
        );
      end
    end else begin : g_twins
      logic [8*T_IN-1:0] x_1;  // as B1 and B2 of the primitive
      logic [8*T_IN-1:0] x_2;

      always_ff @(posedge clk) begin
        x_1 <= x_late;
        x_2 <= x_1;
      end

      for (genvar o = 0; o < T_OUT; o += 2) begin : g_pair
        hwmoe_dot_twin #(
            .T_IN(T_IN)
        ) i_twin (
            .clk,
            .load({load[(o+1)/SHARE], load[o/SHARE]}),
            .rows(rows[8*T_IN*(o%SLOTS)+:2*8*T_IN]),
            .swap(swap_late),
            .x(x_2),
            .y(y[SUM_W*o+:2*SUM_W])
        );
      end
    end
  endgenerate
endmodule
