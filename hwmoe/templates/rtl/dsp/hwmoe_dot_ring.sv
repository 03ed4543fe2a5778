// N >= 2 cycles of delay, for the twins of simulation: a ring in memory is faster than a shift
// register there. No reset.
module hwmoe_dot_ring #(
    parameter int W = 8,
    parameter int N = 2
) (
    input  logic         clk,
    input  logic [W-1:0] d,
    output logic [W-1:0] q
);
  localparam int AW = (N > 2) ? $clog2(N - 1) : 1;

  logic [W-1:0] ring[0:N-2];
  /* verilator lint_off PROCASSINIT */
  logic [AW-1:0] at = '0;
  /* verilator lint_on PROCASSINIT */

  always_ff @(posedge clk) begin
    q        <= ring[at];
    ring[at] <= d;
    at       <= (at == AW'(N - 2)) ? '0 : at + 1'b1;
  end
endmodule
