// One query row of one head unit: its query slices (two pages), score memory, probabilities,
// accumulators and reciprocal. The multipliers are outside, as two rows share them.
module hwmoe_attn_row #(
    parameter int LANES = 8,
    parameter int TOKENS = 64,
    parameter int TILES = 4,
    parameter int SCORE_W = 21,
    parameter int ACC_W = 21,
    parameter int TOK_AW = 6,
    parameter int TILE_AW = 2
) (
    input  logic                   clk,
    // query slices; read one cycle before the multipliers take q
    input  logic                   q_we,
    input  logic [      TILE_AW:0] q_waddr,
    input  logic [    8*LANES-1:0] q_wdata,
    input  logic [      TILE_AW:0] q_raddr,
    output logic [    8*LANES-1:0] q,
    input  logic [   16*LANES-1:0] product,
    // scores
    input  logic                   dot_en,
    input  logic                   dot_first,
    input  logic                   score_we,
    input  logic                   score_wfirst,
    input  logic [     TOK_AW-1:0] score_waddr,
    input  logic                   score_re,
    input  logic [     TOK_AW-1:0] score_raddr,
    // probabilities
    input  logic [           16:0] score_mult,
    input  logic [            1:0] score_shift,
    input  logic                   sum_en,
    input  logic                   sum_first,
    output logic [            6:0] p,
    // accumulators
    input  logic                   acc_en,
    input  logic                   acc_first,
    input  logic [    TILE_AW-1:0] acc_tile,
    input  logic                   page_we,
    input  logic [    TILE_AW-1:0] page_waddr,
    input  logic                   page_re,
    input  logic [    TILE_AW-1:0] page_raddr,
    output logic [ACC_W*LANES-1:0] page,
    // reciprocal of the sum of probabilities
    input  logic [           15:0] out_mult,
    input  logic [            4:0] out_shift,
    input  logic                   recip_load,
    input  logic [            3:0] recip_norm,
    input  logic                   recip_step,
    output logic [           16:0] recip,
    output logic [            4:0] recip_e
);
  localparam int DOT_W = 16 + $clog2(LANES);

  logic [DOT_W-1:0] dot;
  logic [SCORE_W-1:0] distance;
  logic [16:0] sum;

  hwmoe_ram_sdp #(
      .W(8 * LANES),
      .DEPTH(2 << TILE_AW),
      .BLOCK(0)
  ) queries (
      .clk,
      .we(q_we),
      .waddr(q_waddr),
      .wdata(q_wdata),
      .re(1'b1),
      .raddr(q_raddr),
      .rdata(q)
  );

  hwmoe_adder_tree #(
      .N(LANES),
      .W(16)
  ) tree (
      .clk,
      .terms(product),
      .sum(dot)
  );

  hwmoe_attn_score #(
      .DOT_W(DOT_W),
      .W(SCORE_W),
      .TOKENS(TOKENS),
      .AW(TOK_AW)
  ) score (
      .clk,
      .dot_en,
      .dot_first,
      .dot,
      .we(score_we),
      .wfirst(score_wfirst),
      .waddr(score_waddr),
      .re(score_re),
      .raddr(score_raddr),
      .distance
  );

  hwmoe_attn_prob #(
      .W(SCORE_W)
  ) prob (
      .clk,
      .distance,
      .mult(score_mult),
      .shift(score_shift),
      .p,
      .sum_en,
      .sum_first,
      .sum
  );

  hwmoe_attn_acc #(
      .LANES(LANES),
      .TILES(TILES),
      .W(ACC_W),
      .AW(TILE_AW)
  ) acc (
      .clk,
      .en(acc_en),
      .first(acc_first),
      .tile(acc_tile),
      .product,
      .page_we,
      .page_waddr,
      .page_re,
      .page_raddr,
      .page
  );

  hwmoe_attn_recip reciprocal (
      .clk,
      .load(recip_load),
      .norm(recip_norm),
      .step(recip_step),
      .sum,
      .c(out_mult),
      .f(out_shift),
      .r(recip),
      .e(recip_e)
  );
endmodule
