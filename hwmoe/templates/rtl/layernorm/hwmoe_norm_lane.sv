// One channel a cycle: y = sat8((z * gain + bias + 2^(t-1)) >> t), t = 9, 14, 19 or 24, and
// z = ((D*x - S) * r + 2^(e+5)) >> (e + 6). Runs freely; an input's suffix is the cycle in which it
// is wanted, `y` and `clipped` belong to cycle 12. |z| < 2^15 (docs/numerics.md), so the shifters
// drop what cannot be set.
module hwmoe_norm_lane (
    input  logic        clk,
    input  logic [10:0] dim,
    input  logic [ 1:0] shift,
    input  logic [15:0] x_1,
    input  logic [25:0] s_3,
    input  logic [16:0] r_4,
    input  logic [25:0] half_5,
    input  logic [ 1:0] e_high_6,
    input  logic [ 2:0] e_low_7,
    input  logic [17:0] gain_8,
    input  logic [31:0] bias_8,
    output logic [ 7:0] y,
    output logic        clipped
);
  // verilator no_inline_module
  logic signed [15:0] x_2;
  logic signed [26:0] scaled_3;
  logic signed [26:0] centred_4;
  /* verilator lint_off UNUSEDSIGNAL */  // low bits that only carry, or not even that
  logic signed [44:0] product_5;
  logic signed [39:0] rounded_6;
  logic signed [34:0] sum_10;
  /* verilator lint_on UNUSEDSIGNAL */
  logic signed [22:0] shifted_7;
  logic signed [15:0] z_8;
  logic signed [33:0] product_9;
  logic signed [32:0] bias_9;
  logic        [23:0] half;
  logic signed [25:0] shifted_11;
  logic               fits_11;

  assign half    = {shift == 2'd3, 4'b0, shift == 2'd2, 4'b0, shift == 2'd1, 4'b0,
                    shift == 2'd0, 8'b0};
  assign fits_11 = (&shifted_11[25:7]) | ~(|shifted_11[25:7]);

  always_ff @(posedge clk) begin
    x_2       <= x_1;
    scaled_3  <= x_2 * $signed({1'b0, dim});
    centred_4 <= scaled_3 - 27'($signed(s_3));
    product_5 <= centred_4 * $signed({1'b0, r_4});
    rounded_6 <= product_5[44:5] + {14'b0, half_5};
    shifted_7 <= 23'($signed(rounded_6[39:1]) >>> {e_high_6, 3'b0});
    z_8       <= 16'(shifted_7 >>> e_low_7);
    product_9 <= z_8 * $signed(gain_8);
    bias_9    <= 33'($signed(bias_8)) + $signed({9'b0, half});
    sum_10    <= 35'(product_9) + 35'(bias_9);
    unique case (shift)
      2'd0: shifted_11 <= sum_10[34:9];
      2'd1: shifted_11 <= {{5{sum_10[34]}}, sum_10[34:14]};
      2'd2: shifted_11 <= {{10{sum_10[34]}}, sum_10[34:19]};
      2'd3: shifted_11 <= {{15{sum_10[34]}}, sum_10[34:24]};
    endcase
    y       <= fits_11 ? shifted_11[7:0] : {shifted_11[25], {7{~shifted_11[25]}}};
    clipped <= ~fits_11;
  end
endmodule
