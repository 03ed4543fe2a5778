// Scores of one query row: sums of the tiles' dot products, their memory and their running
// maximum; later read back as the distance to the maximum, two cycles after `re`.
// |score| <= 2^14 * head_dim, and a distance is below 2^15 * head_dim: W bits hold both.
module hwmoe_attn_score #(
    parameter int DOT_W = 19,
    parameter int W = 21,
    parameter int TOKENS = 64,
    parameter int AW = 6
) (
    input  logic             clk,
    // a dot product; first tile of a token
    input  logic             dot_en,
    input  logic             dot_first,
    input  logic [DOT_W-1:0] dot,
    // one cycle after a token's last dot product
    input  logic             we,
    input  logic             wfirst,
    input  logic [   AW-1:0] waddr,
    input  logic             re,
    input  logic [   AW-1:0] raddr,
    output logic [    W-1:0] distance
);
  logic signed [W-1:0] acc;
  logic signed [W-1:0] best;
  logic        [W-1:0] stored;

  hwmoe_ram_sdp #(
      .W(W),
      .DEPTH(TOKENS)
  ) memory (
      .clk,
      .we,
      .waddr,
      .wdata(acc),
      .re,
      .raddr,
      .rdata(stored)
  );

  always_ff @(posedge clk) begin
    if (dot_en) acc <= W'($signed(dot)) + (dot_first ? '0 : acc);
    if (we && (wfirst || acc > best)) best <= acc;
    distance <= best - stored;
  end
endmodule
