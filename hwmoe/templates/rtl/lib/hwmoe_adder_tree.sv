// Sum of N signed values of W bits, one sum a cycle, a register after every adder level:
// LATENCY = clog2(N). The result has W + clog2(N) bits. No reset.
module hwmoe_adder_tree #(
    parameter int N = 8,
    parameter int W = 16,
    parameter int LEVELS = $clog2(N)
) (
    /* verilator lint_off UNUSEDSIGNAL */  // N = 1 adds nothing
    input  logic                clk,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic [       N*W-1:0] terms,
    output logic [W+LEVELS-1:0] sum
);
  localparam int FULL = 1 << LEVELS;  // the missing terms are zero

  generate
    for (genvar l = 0; l <= LEVELS; l++) begin : g_level
      localparam int COUNT = FULL >> l;
      localparam int WIDTH = W + l;
      logic [COUNT*WIDTH-1:0] q;
      if (l == 0) begin : g_terms
        if (FULL == N) begin : g_exact
          assign q = terms;
        end else begin : g_padded
          assign q = {{((FULL - N) * W) {1'b0}}, terms};
        end
      end else begin : g_add
        always_ff @(posedge clk) begin
          for (int k = 0; k < COUNT; k++) begin
            q[WIDTH*k+:WIDTH] <=
                WIDTH'($signed(g_level[l-1].q[(WIDTH-1)*2*k+:WIDTH-1])) +
                WIDTH'($signed(g_level[l-1].q[(WIDTH-1)*(2*k+1)+:WIDTH-1]));
          end
        end
      end
    end
  endgenerate

  assign sum = g_level[LEVELS].q;
endmodule
