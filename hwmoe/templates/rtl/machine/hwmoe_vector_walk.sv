// Addresses of a tile-major tensor, token after token: all words of its first row, then of the
// next. `start` begins at `base`, the first row's first word; `step` goes on by one word. The words
// of a row lie `stride` apart; a row has `parts` parts, P a word. `last`: the last word of a row.
module hwmoe_vector_walk #(
    parameter int P = 1
) (
    input  logic        clk,
    input  logic        start,
    input  logic [15:0] base,
    input  logic [15:0] stride,
    input  logic [15:0] parts,
    input  logic        step,
    output logic [15:0] addr,
    output logic        last
);
  logic [15:0] row;
  logic [15:0] left;

  assign last = left <= 16'(P);

  always_ff @(posedge clk) begin
    if (start) begin
      addr <= base;
      row  <= base;
      left <= parts;
    end else if (step & last) begin
      addr <= row + 1'b1;
      row  <= row + 1'b1;
      left <= parts;
    end else if (step) begin
      addr <= addr + stride;
      left <= left - 16'(P);
    end
  end
endmodule
