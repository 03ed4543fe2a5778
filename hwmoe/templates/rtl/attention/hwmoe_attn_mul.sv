// Products of two query rows with one beat x: y0[l] = a0[l] * x[l] and y1[l] = a1[l] * x[l], where
// a is the row's query slice, or its probability p (in every lane) if `use_p`. Latency 3 cycles.
// Both products of a lane come from one 27x18 multiplier: (a1 * 2^18 + a0) * x. The product of a0
// lies in the low 18 bits; where it is negative it has borrowed 1 from the upper one.
module hwmoe_attn_mul #(
    parameter int LANES = 8
) (
    input  logic                clk,
    input  logic                use_p,
    input  logic [ 8*LANES-1:0] q0,
    input  logic [ 8*LANES-1:0] q1,
    input  logic [         6:0] p0,
    input  logic [         6:0] p1,
    input  logic [ 8*LANES-1:0] x,
    output logic [16*LANES-1:0] y0,
    output logic [16*LANES-1:0] y1
);
  generate
    for (genvar l = 0; l < LANES; l++) begin : g_lane
      logic        [ 7:0] a0;
      logic        [ 7:0] a1;
      logic signed [26:0] pair_1;
      logic signed [ 7:0] x_1;
      /* verilator lint_off UNUSEDSIGNAL */  // two bits of sign, one between the products
      logic signed [34:0] product_2;
      /* verilator lint_on UNUSEDSIGNAL */

      assign a0 = use_p ? {1'b0, p0} : q0[8*l+:8];
      assign a1 = use_p ? {1'b0, p1} : q1[8*l+:8];

      always_ff @(posedge clk) begin
        pair_1 <= {{a1[7], a1} - {8'b0, a0[7]}, {10{a0[7]}}, a0};
        x_1 <= x[8*l+:8];
        product_2 <= pair_1 * x_1;
        y0[16*l+:16] <= product_2[15:0];
        y1[16*l+:16] <= product_2[33:18] + {15'b0, product_2[17]};
      end
    end
  endgenerate
endmodule
