// Grants one of N requests in the same cycle, and next time begins behind the one it granted.
// A grant is always used.
module hwmoe_round_robin #(
    parameter int N = 2
) (
    input  logic         clk,
    input  logic         rst_n,
    input  logic [N-1:0] request,
    output logic [N-1:0] grant
);
  logic [N-1:0] above;  // those behind the last one granted
  logic [N-1:0] later;
  logic [N-1:0] pick;

  assign later = request & above;
  assign pick  = (later != '0) ? later : request;
  assign grant = pick & (~pick + N'(1));

  always_ff @(posedge clk) begin
    if (!rst_n) above <= '1;
    else if (grant != '0) above <= ~(grant | (grant - N'(1)));
  end
endmodule
