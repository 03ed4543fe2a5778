// N >= 1 cycles of delay without reset: becomes shift-register LUTs.
module hwmoe_norm_line #(
    parameter int W = 8,
    parameter int N = 2
) (
    input  logic         clk,
    input  logic [W-1:0] d,
    output logic [W-1:0] q
);
  logic [N*W-1:0] line;

  assign q = line[N*W-1-:W];

  always_ff @(posedge clk) line <= (N * W)'({line, d});
endmodule
