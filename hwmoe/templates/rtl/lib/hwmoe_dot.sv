// One output channel of a MAC tile: T_IN int8 products of the held weights and their sum.
// `load` writes the shadow weights, `swap` makes them the active ones. An `x` belongs to the
// weights swapped in up to one cycle before it; y follows x by 1 + clog2(T_IN) cycles.
module hwmoe_dot #(
    parameter int T_IN = 16,
    parameter int LEVELS = $clog2(T_IN)
) (
    input  logic                 clk,
    input  logic                 load,
    input  logic [   8*T_IN-1:0] weights,
    input  logic                 swap,
    input  logic [   8*T_IN-1:0] x,
    output logic [16+LEVELS-1:0] y
);
  // verilator no_inline_module
  logic [ 8*T_IN-1:0] shadow;
  logic [ 8*T_IN-1:0] active;
  logic [16*T_IN-1:0] products;
  logic               load_q;
  logic               swap_q;

  always_ff @(posedge clk) begin
    load_q <= load;
    swap_q <= swap;
    if (load_q) shadow <= weights;
    if (swap_q) active <= shadow;
    for (int i = 0; i < T_IN; i++) begin
      products[16*i+:16] <= $signed(active[8*i+:8]) * $signed(x[8*i+:8]);
    end
  end

  hwmoe_adder_tree #(
      .N(T_IN),
      .W(16)
  ) i_tree (
      .clk,
      .terms(products),
      .sum(y)
  );
endmodule
