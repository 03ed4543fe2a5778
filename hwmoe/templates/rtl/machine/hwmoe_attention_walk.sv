// The words of a tensor in the order in which the attention kernel takes its beats.
//
// Beat d of head group h lies in part (h*dim_tiles + d) % PARTS of a word. A *pass* goes over one
// head group: for each of n_tok tokens, the words that hold its dim_tiles beats. KV = 0: a pass a
// head group (queries, results). KV = 1: two for every ROWS rows of queries, keys and then values
// (`second`). `offset` counts from the tensor's base: word row * n_tok + token.
// The sizes are stable from `start` to the end and not zero. A word leaves with `take`, the next
// one is there in the following cycle. `last_row`: it is of the tensor's last word row.
// `primed`: the words of the first ROWS tokens have left.
module hwmoe_attention_walk #(
    parameter int PARTS = 2,
    parameter int ROWS = 4,
    parameter int KV = 0,
    parameter int PART_W = (PARTS > 1) ? $clog2(PARTS) : 1
) (
    input  logic              clk,
    input  logic              rst_n,
    input  logic              start,
    input  logic [      15:0] n_tok,
    input  logic [      15:0] dim_tiles,
    input  logic [      15:0] head_groups,
    output logic              valid,
    input  logic              take,
    output logic [      15:0] offset,
    output logic [PART_W-1:0] first_part,
    output logic [PART_W-1:0] last_part,
    output logic              second,
    output logic              last_row,
    output logic              primed
);
  localparam int LEAD_W = $clog2(ROWS + 1);
  localparam logic [PART_W-1:0] TOP = PART_W'(PARTS - 1);

  logic [      15:0] head_offset;  // of the head group's first word
  logic [      15:0] token_offset;  // of the token's first word
  logic [      15:0] next_head;
  logic [PART_W-1:0] head_part;  // of the head group's first beat
  logic [PART_W-1:0] next_part;
  logic [      15:0] tiles_left;  // this word's included, as all that is left
  logic [      15:0] tiles_room;
  logic [      15:0] tokens_left;
  logic [      15:0] rows_left;
  logic [      15:0] heads_left;
  logic [LEAD_W-1:0] lead;
  logic              last_word;
  logic              last_token;
  logic              last_pass;
  logic              last_head;
  logic              done;

  assign tiles_room = 16'(PARTS) - 16'(first_part);
  assign last_word  = tiles_left <= tiles_room;
  assign last_part  = last_word ? first_part + PART_W'(tiles_left) - 1'b1 : TOP;
  assign last_token = tokens_left == 16'd1;
  assign last_pass  = KV == 0 || (second && rows_left <= 16'(ROWS));
  assign last_head  = heads_left == 16'd1;
  assign last_row   = last_word & last_head;
  assign done       = take & last_row & last_token & last_pass;

  // the head group ends at the last token of its last word row; the next one may share that row
  assign next_part = (last_part == TOP) ? '0 : last_part + 1'b1;
  assign next_head = offset + 16'd1 - ((last_part == TOP) ? 16'd0 : n_tok);

  always_ff @(posedge clk) begin
    if (!rst_n) valid <= 1'b0;
    else if (start) valid <= 1'b1;
    else if (done) valid <= 1'b0;
  end

  always_ff @(posedge clk) begin
    if (start) begin
      offset       <= '0;
      head_offset  <= '0;
      token_offset <= '0;
      first_part   <= '0;
      head_part    <= '0;
      second       <= 1'b0;
      primed       <= 1'b0;
      lead         <= LEAD_W'(ROWS);
      tiles_left   <= dim_tiles;
      tokens_left  <= n_tok;
      rows_left    <= n_tok;
      heads_left   <= head_groups;
    end else if (take && !last_word) begin
      offset     <= offset + n_tok;
      first_part <= '0;
      tiles_left <= tiles_left - tiles_room;
    end else if (take) begin
      tiles_left <= dim_tiles;
      lead       <= lead - 1'b1;
      if (last_token || lead == LEAD_W'(1)) primed <= 1'b1;
      if (!last_token) begin
        offset       <= token_offset + 1'b1;
        token_offset <= token_offset + 1'b1;
        first_part   <= head_part;
        tokens_left  <= tokens_left - 1'b1;
      end else begin
        tokens_left <= n_tok;
        second      <= KV != 0 && !second;
        if (!last_pass) begin
          offset       <= head_offset;
          token_offset <= head_offset;
          first_part   <= head_part;
          if (second) rows_left <= rows_left - 16'(ROWS);
        end else begin
          offset       <= next_head;
          token_offset <= next_head;
          head_offset  <= next_head;
          first_part   <= next_part;
          head_part    <= next_part;
          rows_left    <= n_tok;
          heads_left   <= heads_left - 1'b1;
        end
      end
    end
  end
endmodule
