// What hwmoe_ternary_tree computes, as a plain sum, for fast simulation: y follows x and codes by
// one cycle.
module hwmoe_ternary_twin #(
    parameter int T_IN = 16,
    parameter int SUM_W = 9 + $clog2(T_IN)
) (
    input  logic              clk,
    input  logic [8*T_IN-1:0] x,
    input  logic [2*T_IN-1:0] codes,
    output logic [ SUM_W-1:0] y
);
  // verilator no_inline_module
  int total;

  always_comb begin
    total = 0;
    for (int i = 0; i < T_IN; i++) begin
      total += int'($signed(codes[2*i+:2])) * int'($signed(x[8*i+:8]));
    end
  end

  always_ff @(posedge clk) y <= SUM_W'(total);
endmodule
