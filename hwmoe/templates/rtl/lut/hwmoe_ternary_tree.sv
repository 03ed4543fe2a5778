// One output channel on LUTs: y = sum_i w[i] * x[i] of ternary weights, T_IN a power of two, 8 or
// more. y follows x and codes by 1 + LEVELS cycles. No reset.
//
// A negative weight enters as ~x, which is one too little. The ones are added by carry inputs that
// the adders have anyway: a pair adds that of its first weight and owes that of its second; an
// adder of three terms pays two and owes the third. As T_IN is a power of two, one adder has two
// terms, so that nothing is owed at the end.
module hwmoe_ternary_tree #(
    parameter int T_IN = 16,
    parameter int SUM_W = 9 + $clog2(T_IN)
) (
    input  logic               clk,
    input  logic [ 8*T_IN-1:0] x,
    input  logic [ 2*T_IN-1:0] codes,
    output logic [  SUM_W-1:0] y
);
  localparam int PAIRS = T_IN / 2;

  // Terms that are left at a level
  function automatic int terms(input int level);
    terms = PAIRS;
    for (int l = 0; l < level; l++) terms = (terms + 2) / 3;
  endfunction

  function automatic int count_levels(input int first);
    int left;
    left = first;
    count_levels = 0;
    for (int l = 0; l < 8; l++) begin
      if (left > 1) begin
        left = (left + 2) / 3;
        count_levels = count_levels + 1;
      end
    end
  endfunction

  function automatic int width(input int level);
    width = (9 + 2 * level < SUM_W) ? 9 + 2 * level : SUM_W;
  endfunction

  localparam int LEVELS = count_levels(PAIRS);

  generate
    for (genvar l = 0; l <= LEVELS; l++) begin : g_level
      localparam int N = terms(l);
      localparam int W = width(l);
      localparam int BEFORE = (l > 0) ? width(l - 1) : 1;
      localparam int ABOVE = (l > 0) ? terms(l - 1) : 1;

      logic [N*W-1:0] sums, sums_q;
      logic [N-1:0] owed;
      /* verilator lint_off UNUSEDSIGNAL */  // at the end nothing is owed
      logic [N-1:0] owed_q;
      /* verilator lint_on UNUSEDSIGNAL */

      for (genvar k = 0; k < N; k++) begin : g_term
        if (l == 0) begin : g_pair
          hwmoe_ternary_pair i_pair (
              .x(x[16*k+:16]),
              .codes(codes[4*k+:4]),
              .carry(codes[4*k+1]),
              .sum(sums[W*k+:W])
          );
          assign owed[k] = codes[4*k+3];
        end else begin : g_join
          localparam int HAS = (ABOVE - 3 * k < 3) ? ABOVE - 3 * k : 3;

          if (HAS == 1) begin : g_one
            assign sums[W*k+:W] = W'($signed(g_level[l-1].sums_q[BEFORE*3*k+:BEFORE]));
            assign owed[k] = g_level[l-1].owed_q[3*k];
          end else begin : g_more
            logic [W-1:0] third;

            if (HAS == 3) begin : g_three
              assign third = W'($signed(g_level[l-1].sums_q[BEFORE*(3*k+2)+:BEFORE]));
              assign owed[k] = g_level[l-1].owed_q[3*k+2];
            end else begin : g_two
              assign third = '0;
              assign owed[k] = 1'b0;
            end

            hwmoe_ternary_add3 #(
                .W(W)
            ) i_add (
                .a(W'($signed(g_level[l-1].sums_q[BEFORE*3*k+:BEFORE]))),
                .b(W'($signed(g_level[l-1].sums_q[BEFORE*(3*k+1)+:BEFORE]))),
                .c(third),
                .carries(g_level[l-1].owed_q[3*k+:2]),
                .sum(sums[W*k+:W])
            );
          end
        end
      end

      always_ff @(posedge clk) begin
        sums_q <= sums;
        owed_q <= owed;
      end
    end
  endgenerate

  assign y = SUM_W'($signed(g_level[LEVELS].sums_q));
endmodule
