// What hwmoe_dot_cascade computes, as a plain sum of products, for fast simulation. Nothing is
// skewed: `x` belongs to the weights swapped in up to one cycle before it, and y follows it by one
// cycle. `load[c]` takes row c of `rows` into the shadow weights of channel c.
module hwmoe_dot_twin #(
    parameter int T_IN = 16,
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
    y <= {SUM_W'(high), SUM_W'(low)};
  end

`ifndef SYNTHESIS
  int forbidden;
  /* verilator lint_off PROCASSINIT */
  int settled = 64;  // cycles until a load can no longer be one that was in a pipe at power-up
  /* verilator lint_on PROCASSINIT */

  /* verilator lint_off BLKSEQ */  // forbidden is a loop's counter
  always_ff @(posedge clk) begin
    if (settled > 0) settled--;
    else if (load != 0) begin
      forbidden = 0;
      for (int i = 0; i < 2 * T_IN; i++) begin
        if (load[i/T_IN] && rows[8*i+:8] == 8'h80) forbidden++;
      end
      assert (forbidden == 0) else $error("a weight of -128");
    end
  end
  /* verilator lint_on BLKSEQ */
`endif
endmodule
