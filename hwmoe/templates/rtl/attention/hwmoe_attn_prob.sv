// A distance to the 7-bit probability, p = EXP7[min(255, (distance * mult + 2^(s-1)) >> s)] with
// s = 16, 20, 24 or 28, in 4 cycles; and the sum of a row's probabilities, one cycle later.
module hwmoe_attn_prob #(
    parameter int W = 21
) (
    input  logic         clk,
    input  logic [W-1:0] distance,
    input  logic [ 16:0] mult,
    input  logic [  1:0] shift,
    output logic [  6:0] p,
    // with p: add it to the sum; first token of a row
    input  logic         sum_en,
    input  logic         sum_first,
    output logic [ 16:0] sum
);
  logic signed [26:0] a;
  /* verilator lint_off UNUSEDSIGNAL */
  logic signed [44:0] product;  // neither operand is negative; half has no bit below 15
  logic        [28:0] rounded;  // bit 0 only carries
  /* verilator lint_on UNUSEDSIGNAL */
  logic        [ 7:0] index;

  assign a = 27'($signed(distance));

  always_ff @(posedge clk) begin
    product <= a * $signed({1'b0, mult});
    rounded <= product[43:15] + {16'b0, shift == 2'd3, 3'b0, shift == 2'd2, 3'b0,
                                 shift == 2'd1, 3'b0, shift == 2'd0};
    unique case (shift)
      2'd0: index <= rounded[8:1] | {8{|rounded[28:9]}};
      2'd1: index <= rounded[12:5] | {8{|rounded[28:13]}};
      2'd2: index <= rounded[16:9] | {8{|rounded[28:17]}};
      2'd3: index <= rounded[20:13] | {8{|rounded[28:21]}};
    endcase
    if (sum_en) sum <= (sum_first ? '0 : sum) + {10'b0, p};
  end

  hwmoe_attn_exp7 exp7 (
      .clk,
      .index,
      .value(p)
  );
endmodule
