// The words of an add, one a cycle while `has_room`: for i in `tiles`: for j in `count`: term word
// src + i*count + j, base and result words base + i*n_tok + row and dst + i*n_tok + row. The row is
// first + j, or in a listed add entry j of the list, with its score; otherwise the score is 1.0.
// `list_step` asks for the list's next entry, which comes a cycle after; `list_restart`: the next
// one is entry 0 again. `issue`: a word has begun; what belongs to it leaves with `valid` two cycles
// after. `on`: more will come.
module hwmoe_vector_add_seq (
    input  logic        clk,
    input  logic        rst_n,
    input  logic        start,
    input  logic        listed,
    input  logic [15:0] src,
    input  logic [15:0] base,
    input  logic [15:0] dst,
    input  logic [15:0] n_tok,
    input  logic [15:0] tiles,
    input  logic [15:0] first,
    input  logic [15:0] count,
    input  logic        has_room,
    output logic        issue,
    output logic        on,
    output logic        list_restart,
    output logic        list_step,
    input  logic [15:0] list_row,
    input  logic [15:0] list_score,
    output logic        valid,
    output logic [15:0] term_addr,
    output logic [15:0] base_addr,
    output logic [15:0] dst_addr,
    output logic [15:0] score
);
  logic [15:0] rows_left;
  logic [15:0] tiles_left;
  logic        row_last;
  logic [15:0] term;
  logic [15:0] row;
  logic [15:0] tile_base;
  logic [15:0] tile_dst;

  logic        valid_1;
  logic [15:0] term_1;
  logic [15:0] row_1;
  logic [15:0] base_1;
  logic [15:0] dst_1;
  logic [15:0] chosen;

  assign issue        = on & has_room;
  assign row_last     = rows_left == 16'd1;
  assign list_step    = issue;
  assign list_restart = start | (issue & row_last);
  assign chosen       = listed ? list_row : row_1;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      on      <= 1'b0;
      valid_1 <= 1'b0;
      valid   <= 1'b0;
    end else begin
      if (start) on <= count != '0 && tiles != '0;
      else if (issue & row_last & (tiles_left == 16'd1)) on <= 1'b0;
      valid_1 <= issue;
      valid   <= valid_1;
    end
  end

  always_ff @(posedge clk) begin
    if (start) begin
      rows_left  <= count;
      tiles_left <= tiles;
      term       <= src;
      row        <= first;
      tile_base  <= base;
      tile_dst   <= dst;
    end else if (issue) begin
      term      <= term + 1'b1;
      row       <= row_last ? first : row + 1'b1;
      rows_left <= row_last ? count : rows_left - 1'b1;
      if (row_last) begin
        tiles_left <= tiles_left - 1'b1;
        tile_base  <= tile_base + n_tok;
        tile_dst   <= tile_dst + n_tok;
      end
    end
    term_1    <= term;
    row_1     <= row;
    base_1    <= tile_base;
    dst_1     <= tile_dst;
    term_addr <= term_1;
    base_addr <= base_1 + chosen;
    dst_addr  <= dst_1 + chosen;
    score     <= listed ? list_score : 16'h8000;
  end
endmodule
