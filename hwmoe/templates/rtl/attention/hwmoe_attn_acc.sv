// Accumulators of one query row, W bits a lane, a word a dim tile. The sums of the last token go
// to a page of their own, one cycle after it, which is read while the next rows accumulate.
module hwmoe_attn_acc #(
    parameter int LANES = 8,
    parameter int TILES = 4,
    parameter int W = 25,
    parameter int AW = 2
) (
    input  logic                clk,
    // products of a tile; first token of a row
    input  logic                en,
    input  logic                first,
    input  logic [      AW-1:0] tile,
    input  logic [16*LANES-1:0] product,
    // one cycle after the last token's products
    input  logic                page_we,
    input  logic [      AW-1:0] page_waddr,
    input  logic                page_re,
    input  logic [      AW-1:0] page_raddr,
    output logic [ W*LANES-1:0] page
);
  (* ram_style = "distributed" *) logic [W*LANES-1:0] mem[0:TILES-1];
  logic [W*LANES-1:0] old;
  logic [W*LANES-1:0] next;
  logic [W*LANES-1:0] sums;

  assign old = mem[tile];

  generate
    for (genvar l = 0; l < LANES; l++) begin : g_lane
      assign next[W*l+:W] = W'($signed(product[16*l+:16])) + (first ? '0 : old[W*l+:W]);
    end
  endgenerate

  always_ff @(posedge clk) begin
    if (en) mem[tile] <= next;
  end

  always_ff @(posedge clk) sums <= next;

  hwmoe_ram_sdp #(
      .W(W * LANES),
      .DEPTH(TILES),
      .BLOCK(0)
  ) pages (
      .clk,
      .we(page_we),
      .waddr(page_waddr),
      .wdata(sums),
      .re(page_re),
      .raddr(page_raddr),
      .rdata(page)
  );
endmodule
