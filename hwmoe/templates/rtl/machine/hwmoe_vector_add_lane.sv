// One lane of an add, a value a cycle: y = sat16(base + ((term * score + 2^14) >> 15)), score 2^15
// being 1.0. Runs freely; an input's suffix is the cycle in which it is wanted, `y` and `clipped`
// belong to cycle 5.
module hwmoe_vector_add_lane (
    input  logic        clk,
    input  logic [15:0] term_1,
    input  logic [15:0] score_1,
    input  logic [15:0] base_3,
    output logic [15:0] y,
    output logic        clipped
);
  // verilator no_inline_module
  logic signed [31:0] product_2;  // at most 2^30
  /* verilator lint_off UNUSEDSIGNAL */  // 15 bits are shifted out, and the product's sign is double
  logic signed [31:0] rounded;
  /* verilator lint_on UNUSEDSIGNAL */
  logic signed [15:0] scaled_3;
  logic signed [16:0] sum_4;
  logic               fits;

  assign rounded = product_2 + 32'sd16384;
  assign fits    = sum_4[16] == sum_4[15];

  always_ff @(posedge clk) begin
    product_2 <= $signed(term_1) * $signed({1'b0, score_1});
    scaled_3  <= rounded[30:15];
    sum_4     <= 17'(scaled_3) + 17'($signed(base_3));
    y         <= fits ? sum_4[15:0] : {sum_4[16], {15{~sum_4[16]}}};
    clipped   <= ~fits;
  end
endmodule
