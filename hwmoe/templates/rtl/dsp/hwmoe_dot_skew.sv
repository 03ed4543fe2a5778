// Staggers what belongs to the taps of hwmoe_dot_pairs, activations or weights: field i of `d` has
// the FIELD bits of tap i, for all the pairs that share them. No reset.
//
// PRIMITIVE = 1: the first tap of a chain comes one cycle late, every further one a cycle more
// (SRL). A shorter last chain starts later, so that all end together. PRIMITIVE = 0: all of it
// comes 1 + K + clog2(CHAINS) cycles late, which is when the twin takes it.
module hwmoe_dot_skew #(
    parameter int T_IN = 16,
    parameter int FIELD = 8,
    parameter bit PRIMITIVE = 0,
    parameter int CHAINS = (T_IN + 15) / 16,
    parameter int K = (T_IN + CHAINS - 1) / CHAINS
) (
    input  logic                  clk,
    input  logic [FIELD*T_IN-1:0] d,
    output logic [FIELD*T_IN-1:0] q
);
  localparam int LEAD = CHAINS * K - T_IN;  // taps that the last chain is shorter by

  generate
    if (PRIMITIVE) begin : g_taps
      for (genvar i = 0; i < T_IN; i++) begin : g_tap
        localparam int DELAY = i % K + (i / K == CHAINS - 1 ? LEAD : 0);
        logic [FIELD*(DELAY+1)-1:0] line;

        assign q[FIELD*i+:FIELD] = line[FIELD*DELAY+:FIELD];

        if (DELAY == 0) begin : g_first
          always_ff @(posedge clk) line <= d[FIELD*i+:FIELD];
        end else begin : g_next
          always_ff @(posedge clk) line <= {line[FIELD*DELAY-1:0], d[FIELD*i+:FIELD]};
        end
      end
    end else begin : g_twin
      hwmoe_dot_ring #(
          .W(FIELD * T_IN),
          .N(1 + K + $clog2(CHAINS))
      ) i_ring (
          .clk,
          .d,
          .q
      );
    end
  endgenerate
endmodule
