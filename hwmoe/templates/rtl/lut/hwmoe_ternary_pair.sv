// A leaf of hwmoe_ternary_tree: sum = t(x[0]) + t(x[1]) + carry, where t is x, ~x or 0 as the code
// of its weight, 1, -1 or 0, says. A LUT6_2 a bit selects both and adds them: O5 is one term and O6
// the sum without the carry. Combinational.
module hwmoe_ternary_pair (
    input  logic [15:0] x,
    input  logic [ 3:0] codes,
    input  logic        carry,
    output logic [ 8:0] sum
);
  localparam int W = 9;

  logic [W-1:0] select, add;

  generate
    for (genvar b = 0; b < W; b++) begin : g_bit
      localparam int FROM = (b < 8) ? b : 7;  // the sign again

      LUT6_2 #(
          .INIT(64'h48B7B74848484848)
      ) i_lut (
          .I0(x[FROM]),
          .I1(codes[0]),
          .I2(codes[1]),
          .I3(x[8+FROM]),
          .I4(codes[3]),
          .I5(codes[2]),
          .O5(select[b]),
          .O6(add[b])
      );
    end
  endgenerate

  hwmoe_ternary_carry #(
      .W(W)
  ) i_carry (
      .d(select),
      .s(add),
      .carry,
      .sum
  );
endmodule
