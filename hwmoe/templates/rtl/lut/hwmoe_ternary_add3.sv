// sum = a + b + c + carries[0] + carries[1] of signed terms, all W bits wide: a LUT6_2 a bit. O6 is
// the sum of the bits and O5 their carry, which the bit above adds. Combinational.
module hwmoe_ternary_add3 #(
    parameter int W = 11
) (
    input  logic [W-1:0] a,
    input  logic [W-1:0] b,
    input  logic [W-1:0] c,
    input  logic [  1:0] carries,
    output logic [W-1:0] sum
);
  logic [W-1:0] add;
  /* verilator lint_off UNUSEDSIGNAL */  // the carry of the highest bit
  logic [W:0] saved;
  /* verilator lint_on UNUSEDSIGNAL */

  assign saved[0] = carries[1];

  generate
    for (genvar i = 0; i < W; i++) begin : g_bit
      LUT6_2 #(
          .INIT(64'h69966996E8E8E8E8)
      ) i_lut (
          .I0(a[i]),
          .I1(b[i]),
          .I2(c[i]),
          .I3(saved[i]),
          .I4(1'b0),
          .I5(1'b1),
          .O5(saved[i+1]),
          .O6(add[i])
      );
    end
  endgenerate

  hwmoe_ternary_carry #(
      .W(W)
  ) i_carry (
      .d(saved[W-1:0]),
      .s(add),
      .carry(carries[0]),
      .sum
  );
endmodule
