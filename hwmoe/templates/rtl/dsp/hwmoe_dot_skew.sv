// Staggers activations and swaps for hwmoe_dot_cascade, for all the pairs that share them: tap 0
// one cycle late, every further tap of a chain one more (SRL), and each swap pulse one cycle behind
// the x it belongs to. CHAINS and K as in hwmoe_dot_cascade. No reset.
module hwmoe_dot_skew #(
    parameter int T_IN = 16,
    parameter int CHAINS = (T_IN + 15) / 16,
    parameter int K = (T_IN + CHAINS - 1) / CHAINS
) (
    input  logic              clk,
    input  logic              swap,
    input  logic [8*T_IN-1:0] x,
    output logic [     K-1:0] swap_skewed,
    output logic [8*T_IN-1:0] x_skewed
);
  localparam int LEAD = CHAINS * K - T_IN;

  logic [K:0] swaps;

  assign swap_skewed = swaps[K:1];

  always_ff @(posedge clk) swaps <= (K + 1)'({swaps, swap});

  generate
    for (genvar i = 0; i < T_IN; i++) begin : g_tap
      localparam int DELAY = i % K + (i / K == CHAINS - 1 ? LEAD : 0);
      logic [8*DELAY+7:0] line;

      assign x_skewed[8*i+:8] = line[8*DELAY+:8];

      if (DELAY == 0) begin : g_first
        always_ff @(posedge clk) line <= x[8*i+:8];
      end else begin : g_next
        always_ff @(posedge clk) line <= {line[8*DELAY-1:0], x[8*i+:8]};
      end
    end
  endgenerate
endmodule
