// Counts N places: `take` fills one, `back` frees one, both in one cycle change nothing. `has`: one
// is free; `idle`: all are.
module hwmoe_norm_credit #(
    parameter int N = 32
) (
    input  logic clk,
    input  logic rst_n,
    input  logic take,
    input  logic back,
    output logic has,
    output logic idle
);
  localparam int W = $clog2(N + 1);

  logic [W-1:0] left;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      left <= W'(N);
      has  <= 1'b1;
      idle <= 1'b1;
    end else if (take & ~back) begin
      left <= left - 1'b1;
      has  <= left != W'(1);
      idle <= 1'b0;
    end else if (back & ~take) begin
      left <= left + 1'b1;
      has  <= 1'b1;
      idle <= left == W'(N - 1);
    end
  end
endmodule
