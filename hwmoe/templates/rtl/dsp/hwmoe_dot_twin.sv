// What hwmoe_dot_cascade computes, as a plain sum of products, for fast simulation. Not skewed:
// `x` belongs to the weights swapped in up to one cycle before it, and y follows it by DEPTH >= 1
// cycles. `load[c]` takes row c of `rows` into the shadow weights of channel c.
module hwmoe_dot_twin #(
    parameter int T_IN = 16,
    parameter int DEPTH = 2,
    parameter int SUM_W = 16 + $clog2(T_IN)
) (
    input  logic                clk,
    input  logic [         1:0] load,
    input  logic [2*8*T_IN-1:0] rows,
    input  logic                swap,
    input  logic [  8*T_IN-1:0] x,
    output logic [ 2*SUM_W-1:0] y
);
  // verilator no_inline_module
  logic [2*8*T_IN-1:0] shadow;
  logic [2*8*T_IN-1:0] active;
  logic [DEPTH*2*SUM_W-1:0] line;

  int low;
  int high;

  always_comb begin
    low  = 0;
    high = 0;
    for (int i = 0; i < T_IN; i++) begin
      low  += int'($signed(active[8*i+:8])) * int'($signed(x[8*i+:8]));
      high += int'($signed(active[8*(T_IN+i)+:8])) * int'($signed(x[8*i+:8]));
    end
  end

  always_ff @(posedge clk) begin
    if (load[0]) shadow[8*T_IN-1:0] <= rows[8*T_IN-1:0];
    if (load[1]) shadow[2*8*T_IN-1:8*T_IN] <= rows[2*8*T_IN-1:8*T_IN];
    if (swap) active <= shadow;
    line <= (DEPTH * 2 * SUM_W)'({line, SUM_W'(high), SUM_W'(low)});
  end

  assign y = line[DEPTH*2*SUM_W-1-:2*SUM_W];
endmodule
