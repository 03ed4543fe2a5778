// N >= 1 cycles of delay. The lowest bit, a valid, is reset; the others are not.
module hwmoe_delay #(
    parameter int W = 2,
    parameter int N = 1
) (
    input  logic         clk,
    input  logic         rst_n,
    input  logic [W-1:0] d,
    output logic [W-1:0] q
);
  logic [N-1:0] valids;

  assign q[0] = valids[N-1];

  always_ff @(posedge clk) begin
    if (!rst_n) valids <= '0;
    else valids <= N'({valids, d[0]});
  end

  generate
    if (W > 1) begin : g_data
      logic [N*(W-1)-1:0] line;
      assign q[W-1:1] = line[N*(W-1)-1-:W-1];
      always_ff @(posedge clk) line <= (N * (W - 1))'({line, d[W-1:1]});
    end
  endgenerate
endmodule
