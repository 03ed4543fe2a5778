// Sum of N signed terms of W bits by a binary tree with a register after every level:
// latency $clog2(N) cycles (0 if N = 1), one sum a cycle, W + $clog2(N) bits.
module hwmoe_attn_tree #(
    parameter int N = 8,
    parameter int W = 16,
    parameter int LEVELS = $clog2(N)
) (
    /* verilator lint_off UNUSEDSIGNAL */  // no clock is needed if N = 1
    input  logic                clk,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic [     N*W-1:0] x,
    output logic [W+LEVELS-1:0] sum
);
  generate
    if (LEVELS == 0) begin : g_wire
      assign sum = x;
    end else begin : g_tree
      for (genvar l = 0; l < LEVELS; l++) begin : g_level
        localparam int TERMS = (N + (1 << l) - 1) >> l;
        localparam int SUMS = (TERMS + 1) / 2;
        localparam int TW = W + l;
        localparam int SW = TW + 1;
        logic [TERMS*TW-1:0] terms;
        logic [ SUMS*SW-1:0] sums;
        if (l == 0) begin : g_first
          assign terms = x;
        end else begin : g_next
          assign terms = g_level[l-1].sums;
        end
        for (genvar i = 0; i < SUMS; i++) begin : g_sum
          if (2 * i + 1 < TERMS) begin : g_add
            always_ff @(posedge clk) begin
              sums[SW*i+:SW] <= SW'($signed(terms[TW*2*i+:TW]))
                                + SW'($signed(terms[TW*(2*i+1)+:TW]));
            end
          end else begin : g_odd
            always_ff @(posedge clk) sums[SW*i+:SW] <= SW'($signed(terms[TW*2*i+:TW]));
          end
        end
      end
      assign sum = g_level[LEVELS-1].sums;
    end
  endgenerate
endmodule
