// The routing tables: for each of SLOTS slots and each expert the rows of its tokens, in the order
// in which they were put, with their scores. A gate begins with `clear`, which empties all lists of
// `slot`, and puts results to (slot, expert), one a cycle at most, the first one later than the
// `experts` cycles that clearing takes. An add reads the length (a cycle after slot and expert) and
// then the entries, in order. Each of READERS linear engines has ports of its own: `len` two cycles after its slot
// and expert, `row` three cycles after.
module hwmoe_router #(
    parameter int READERS = 1,
    parameter int SLOTS = 2,
    parameter int EXPERT_W = 4,
    parameter int TOKENS = 64,
    parameter int ROW_W = 6,
    parameter int LEN_W = 7,
    parameter int LEN_BLOCK = 0,
    parameter int LIST_BLOCK = 1
) (
    input  logic        clk,
    input  logic        rst_n,
    input  logic [ 3:0] slot,
    input  logic [ 7:0] expert,
    input  logic        clear,
    input  logic [15:0] experts,
    input  logic        put,
    /* verilator lint_off UNUSEDSIGNAL */  // a row is below TOKENS
    input  logic [15:0] put_row,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic [15:0] put_score,
    output logic [15:0] length,
    input  logic        list_restart,
    input  logic        list_step,
    output logic [15:0] list_row,
    output logic [15:0] list_score,
    input  logic [ 4*READERS-1:0] len_slot,
    input  logic [ 8*READERS-1:0] len_expert,
    output logic [16*READERS-1:0] len,
    input  logic [ 4*READERS-1:0] row_slot,
    input  logic [ 8*READERS-1:0] row_expert,
    input  logic [16*READERS-1:0] row_index,
    output logic [16*READERS-1:0] row
);
  logic             put_1;
  logic [LEN_W-1:0] put_index;
  logic [ROW_W-1:0] row_1;
  logic [     15:0] score_1;

  always_ff @(posedge clk) begin
    row_1   <= put_row[ROW_W-1:0];
    score_1 <= put_score;
  end

  hwmoe_router_len #(
      .READERS(READERS),
      .SLOTS(SLOTS),
      .EXPERT_W(EXPERT_W),
      .LEN_W(LEN_W),
      .BLOCK(LEN_BLOCK)
  ) i_len (
      .clk,
      .rst_n,
      .slot,
      .expert,
      .clear,
      .experts,
      .put,
      .put_1,
      .put_index,
      .length,
      .len_slot,
      .len_expert,
      .len
  );

  hwmoe_router_list #(
      .READERS(READERS),
      .SLOTS(SLOTS),
      .EXPERT_W(EXPERT_W),
      .TOKENS(TOKENS),
      .ROW_W(ROW_W),
      .LEN_W(LEN_W),
      .BLOCK(LIST_BLOCK)
  ) i_list (
      .clk,
      .rst_n,
      .slot,
      .expert,
      .put(put_1),
      .put_index,
      .put_row(row_1),
      .put_score(score_1),
      .list_restart,
      .list_step,
      .list_row,
      .list_score,
      .row_slot,
      .row_expert,
      .row_index,
      .row
  );
endmodule
