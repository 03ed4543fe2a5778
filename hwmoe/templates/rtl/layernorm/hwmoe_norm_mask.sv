// Which lanes of a tile are channels: lane l, if l is below the channels that are left. `start`
// begins a vector of `dim` channels, `step` goes on by one tile (`last`: back to the first).
module hwmoe_norm_mask #(
    parameter int LANES = 8
) (
    input  logic             clk,
    input  logic             start,
    input  logic             step,
    input  logic             last,
    input  logic [     10:0] dim,
    output logic [LANES-1:0] mask
);
  logic [10:0] left;

  always_ff @(posedge clk) begin
    if (start | (step & last)) left <= dim;
    else if (step) left <= (left > 11'(LANES)) ? left - 11'(LANES) : '0;
  end

  generate
    for (genvar l = 0; l < LANES; l++) begin : g_lane
      assign mask[l] = left > 11'(l);
    end
  endgenerate
endmodule
