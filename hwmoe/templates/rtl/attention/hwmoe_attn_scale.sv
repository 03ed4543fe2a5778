// Output values of one head unit: o = sat8((a * r + 2^(s-1)) >> s), s = e + 15, in 5 cycles that
// advance with `adv`. s >= 15, so the low 14 bits of the product never reach the result.
module hwmoe_attn_scale #(
    parameter int LANES = 8,
    parameter int ACC_W = 25
) (
    input  logic                   clk,
    input  logic                   adv,
    input  logic [ACC_W*LANES-1:0] a,
    input  logic [           16:0] r,
    input  logic [            4:0] e,
    output logic [    8*LANES-1:0] o,
    output logic [      LANES-1:0] clipped
);
  logic [26:0] half_1;
  logic [ 4:0] e_1;
  logic [ 4:0] e_2;
  logic [ 2:0] e_3;

  always_ff @(posedge clk) begin
    if (adv) begin
      half_1 <= 27'd1 << e;
      e_1    <= e;
      e_2    <= e_1;
      e_3    <= e_2[2:0];
    end
  end

  generate
    for (genvar l = 0; l < LANES; l++) begin : g_lane
      /* verilator lint_off UNUSEDSIGNAL */
      logic signed [42:0] product_1;  // 14 bits below the result
      logic signed [28:0] rounded_2;  // bit 0 only carries
      /* verilator lint_on UNUSEDSIGNAL */
      logic signed [27:0] shifted_3;
      logic signed [27:0] shifted_4;
      logic               fits_4;

      assign fits_4 = (&shifted_4[27:7]) | ~(|shifted_4[27:7]);

      always_ff @(posedge clk) begin
        if (adv) begin
          product_1      <= $signed(a[ACC_W*l+:ACC_W]) * $signed({1'b0, r});
          rounded_2      <= product_1[42:14] + {2'b0, half_1};
          shifted_3      <= $signed(rounded_2[28:1]) >>> {e_2[4:3], 3'b0};
          shifted_4      <= shifted_3 >>> e_3;
          o[8*l+:8]      <= fits_4 ? shifted_4[7:0] : {shifted_4[27], {7{~shifted_4[27]}}};
          clipped[l]     <= ~fits_4;
        end
      end
    end
  endgenerate
endmodule
