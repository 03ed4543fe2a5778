// Entries of the token lists, TOKENS places for every slot and expert: rows with scores for the
// adder, rows alone for the linear engines, each with a port of its own.
//   writing: (slot, expert) one cycle before `put` with index, row and score
//   adder: the list of (slot, expert), which have held still for two cycles; `list_step` reads the
//   next entry, to come a cycle after; after `list_restart` the next one is entry 0
//   linear: `row` three cycles after row_slot, row_expert, row_index
module hwmoe_router_list #(
    parameter int READERS = 1,
    parameter int SLOTS = 2,
    parameter int EXPERT_W = 4,
    parameter int TOKENS = 64,
    parameter int ROW_W = 6,
    parameter int LEN_W = 7,
    parameter int BLOCK = 1
) (
    input  logic             clk,
    input  logic             rst_n,
    /* verilator lint_off UNUSEDSIGNAL */  // wider than SLOTS, experts and TOKENS ask for
    input  logic [      3:0] slot,
    input  logic [      7:0] expert,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic             put,
    input  logic [LEN_W-1:0] put_index,
    input  logic [ROW_W-1:0] put_row,
    input  logic [     15:0] put_score,
    input  logic             list_restart,
    input  logic             list_step,
    output logic [     15:0] list_row,
    output logic [     15:0] list_score,
    /* verilator lint_off UNUSEDSIGNAL */  // wider than SLOTS, experts and TOKENS ask for
    input  logic [ 4*READERS-1:0] row_slot,
    input  logic [ 8*READERS-1:0] row_expert,
    input  logic [16*READERS-1:0] row_index,
    /* verilator lint_on UNUSEDSIGNAL */
    output logic [16*READERS-1:0] row
);
  localparam int NW = EXPERT_W + $clog2(SLOTS);
  localparam int DEPTH = (SLOTS << EXPERT_W) * TOKENS;
  localparam int AW = (DEPTH > 1) ? $clog2(DEPTH) : 1;

  logic [   AW-1:0] base_1;
  logic             we;
  logic [   AW-1:0] waddr;
  logic [ROW_W-1:0] wrow;
  logic [     15:0] wscore;
  logic [   AW-1:0] next;
  logic [ROW_W-1:0] listed;

  assign list_row = 16'(listed);

  always_ff @(posedge clk) begin
    if (!rst_n) we <= 1'b0;
    else we <= put;
  end

  always_ff @(posedge clk) begin
    base_1      <= AW'(NW'({slot, expert[EXPERT_W-1:0]})) * AW'(TOKENS);
    waddr       <= base_1 + AW'(put_index);
    wrow        <= put_row;
    wscore      <= put_score;
    next        <= list_restart ? base_1 : next + AW'(list_step);
  end

  hwmoe_ram_sdp #(
      .W(ROW_W + 16),
      .DEPTH(DEPTH),
      .BLOCK(BLOCK),
      .AW(AW)
  ) i_scored (
      .clk,
      .we,
      .waddr,
      .wdata({wrow, wscore}),
      .re(list_step),
      .raddr(next),
      .rdata({listed, list_score})
  );

  generate
    for (genvar r = 0; r < READERS; r++) begin : g_reader
      logic [   AW-1:0] base_r1;
      logic [   AW-1:0] index_r1;
      logic [   AW-1:0] addr_r2;
      logic [ROW_W-1:0] row_r3;

      assign row[16*r+:16] = 16'(row_r3);

      always_ff @(posedge clk) begin
        base_r1  <= AW'(NW'({row_slot[4*r+:4], row_expert[8*r+:EXPERT_W]})) * AW'(TOKENS);
        index_r1 <= AW'(row_index[16*r+:16]);
        addr_r2  <= base_r1 + index_r1;
      end

      hwmoe_ram_sdp #(
          .W(ROW_W),
          .DEPTH(DEPTH),
          .BLOCK(BLOCK),
          .AW(AW)
      ) i_rows (
          .clk,
          .we,
          .waddr,
          .wdata(wrow),
          .re(1'b1),
          .raddr(addr_r2),
          .rdata(row_r3)
      );
    end
  endgenerate
endmodule
