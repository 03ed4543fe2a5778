// Row unit: from S and Q of a token to r = 2^31 // floor(sqrt(Vn)) and the shift e = a + 15, a new
// token every cycle, LATENCY = 42.
//   1 products   2 S^2 and D*Q   3 their difference   4 V   5..9 V is shifted left by pairs of bits
//   until one of its two top bits is set   10..25 square root   26..42 division
// V = D*Q - S^2 + E is below 2^51. Left-aligned in 52 bits by k pairs, its top 32 bits are Vn and
// a = 10 - k. S is split at bit 17 and Q at bit 21, so that no product is beyond 27 x 18 bits.
module hwmoe_norm_row #(
    parameter int LATENCY = 42
) (
    input  logic        clk,
    input  logic        rst_n,
    input  logic        valid,
    input  logic [25:0] s,
    input  logic [40:0] q,
    input  logic [10:0] dim,
    input  logic [40:0] eps,
    output logic        row_valid,
    output logic [25:0] row_s,
    output logic [16:0] row_r,
    output logic [ 4:0] row_e
);
  logic signed [43:0] s_low_1;
  logic signed [34:0] s_high_1;
  logic        [31:0] q_low_1;
  logic        [30:0] q_high_1;
  logic        [51:0] square_2;
  logic        [51:0] scaled_2;
  logic        [51:0] spread_3;
  logic        [51:0] v_4;
  logic        [15:0] root_25;

  always_ff @(posedge clk) begin
    s_low_1  <= $signed(s) * $signed({1'b0, s[16:0]});
    s_high_1 <= $signed(s) * $signed(s[25:17]);
    q_low_1  <= 32'(dim) * 32'(q[20:0]);
    q_high_1 <= 31'(dim) * 31'(q[40:21]);
    square_2 <= 52'(s_low_1) + {s_high_1, 17'b0};
    scaled_2 <= 52'(q_low_1) + {q_high_1, 21'b0};
    spread_3 <= scaled_2 - square_2;
    v_4      <= spread_3 + 52'(eps);
  end

  generate
    for (genvar k = 0; k < 5; k++) begin : g_norm
      localparam int PAIRS = 16 >> k;
      logic [51:0] above;
      logic [ 4:0] e_above;
      /* verilator lint_off UNUSEDSIGNAL */  // of the last step, the low 20 bits
      logic [51:0] v;
      /* verilator lint_on UNUSEDSIGNAL */
      logic [ 4:0] e;
      logic        zero;

      if (k == 0) begin : g_first
        assign above   = v_4;
        assign e_above = 5'd25;
      end else begin : g_next
        assign above   = g_norm[k-1].v;
        assign e_above = g_norm[k-1].e;
      end
      assign zero = above[51-:2*PAIRS] == '0;

      always_ff @(posedge clk) begin
        v <= zero ? above << (2 * PAIRS) : above;
        e <= zero ? e_above - 5'(PAIRS) : e_above;
      end
    end
  endgenerate

  hwmoe_norm_sqrt i_sqrt (
      .clk,
      .v(g_norm[4].v[51:20]),
      .root(root_25)
  );

  hwmoe_norm_div i_div (
      .clk,
      .q(root_25),
      .r(row_r)
  );

  hwmoe_delay #(
      .W(27),
      .N(LATENCY)
  ) i_sum (
      .clk,
      .rst_n,
      .d({s, valid}),
      .q({row_s, row_valid})
  );

  hwmoe_norm_line #(
      .W(5),
      .N(LATENCY - 9)
  ) i_shift (
      .clk,
      .d(g_norm[4].e),
      .q(row_e)
  );
endmodule
