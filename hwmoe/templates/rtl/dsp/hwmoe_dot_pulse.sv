// Staggers N pulses, swaps or loads, for the taps of hwmoe_dot_pairs: q[STEPS*n+k] is pulse n for
// the taps of delay k, one cycle behind what hwmoe_dot_skew makes of a field of the same cycle.
// PRIMITIVE = 1: STEPS = K delays; 0: the one of the twin. No reset: an old pulse comes out before
// any new one.
module hwmoe_dot_pulse #(
    parameter int T_IN = 16,
    parameter int N = 1,
    parameter bit PRIMITIVE = 0,
    parameter int CHAINS = (T_IN + 15) / 16,
    parameter int K = (T_IN + CHAINS - 1) / CHAINS,
    parameter int STEPS = PRIMITIVE ? K : 1
) (
    input  logic               clk,
    input  logic [      N-1:0] d,
    output logic [N*STEPS-1:0] q
);
  generate
    if (PRIMITIVE) begin : g_taps
      for (genvar n = 0; n < N; n++) begin : g_pulse
        logic [K:0] line;
        assign q[K*n+:K] = line[K:1];
        always_ff @(posedge clk) line <= {line[K-1:0], d[n]};
      end
    end else begin : g_twin
      hwmoe_dot_ring #(
          .W(N),
          .N(2 + K + $clog2(CHAINS))
      ) i_ring (
          .clk,
          .d,
          .q
      );
    end
  endgenerate
endmodule
