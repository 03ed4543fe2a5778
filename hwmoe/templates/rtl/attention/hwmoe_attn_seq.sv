// Holds a command and leads the array through it: for every head group and group of query rows
// the K phase (a beat of s_axis_k a cycle), a wait for the scores, the V phase; then the status.
// A beat that is taken leaves with its place (tile, token) one cycle later.
module hwmoe_attn_seq #(
    parameter int ROWS = 4,
    parameter int LANES = 8,
    parameter int TOK_AW = 6,
    parameter int TILE_AW = 2,
    parameter int SETTLE = 6
) (
    input  logic               clk,
    input  logic               rst_n,
    /* verilator lint_off UNUSEDSIGNAL */  // fields are wider than this kernel's sizes
    input  logic [      127:0] cmd_data,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic               cmd_valid,
    output logic               cmd_ready,
    input  logic [8*LANES-1:0] k_data,
    input  logic               k_valid,
    output logic               k_ready,
    input  logic [8*LANES-1:0] v_data,
    input  logic               v_valid,
    output logic               v_ready,
    output logic               status_valid,
    input  logic               status_ready,
    // the command, from `start` (high for one cycle) on
    output logic               start,
    output logic [   TOK_AW:0] n_tok,
    output logic [TILE_AW-1:0] tile_max,
    output logic [       15:0] head_groups,
    output logic [       16:0] score_mult,
    output logic [        1:0] score_shift,
    output logic [       15:0] out_mult,
    output logic [        4:0] out_shift,
    // query pages
    output logic               q_page,
    input  logic               q_filled,
    // all scores of the group are known after this cycle
    input  logic               scores_done,
    // the page of finished sums has been read; nothing is left to be sent
    input  logic               page_free,
    input  logic               drained,
    // one beat
    output logic               beat_k,
    output logic               beat_v,
    output logic [8*LANES-1:0] beat,
    output logic               beat_first_tile,
    output logic               beat_last_tile,
    output logic               beat_first_token,
    output logic               beat_last_token,
    output logic [TILE_AW-1:0] beat_tile,
    output logic [ TOK_AW-1:0] beat_token
);
  localparam logic [2:0] IDLE = 3'd0;
  localparam logic [2:0] START = 3'd1;
  localparam logic [2:0] KEYS = 3'd2;
  localparam logic [2:0] SCORES = 3'd3;
  localparam logic [2:0] VALUES = 3'd4;
  localparam logic [2:0] FLUSH = 3'd5;
  localparam logic [2:0] STATUS = 3'd6;

  logic [        2:0] state;
  logic               empty;
  logic [TILE_AW-1:0] tile;
  logic [ TOK_AW-1:0] token;
  logic [ TOK_AW-1:0] token_max;
  logic [   TOK_AW:0] left;
  logic [       15:0] heads;
  logic               last_tile;
  logic               last_token;
  logic               last_group;
  logic               page_busy;
  logic               take_k;
  logic               take_v;
  logic               end_v;
  logic [        4:0] settle;

  assign cmd_ready    = state == IDLE;
  assign start        = state == START;
  assign k_ready      = state == KEYS && q_filled;
  assign v_ready      = state == VALUES && !(last_token && page_busy);
  assign status_valid = state == STATUS;
  assign take_k       = k_ready & k_valid;
  assign take_v       = v_ready & v_valid;
  assign last_tile    = tile == tile_max;
  assign last_token   = token == token_max;
  assign last_group   = left <= (TOK_AW + 1)'(ROWS);
  assign end_v        = take_v & last_tile & last_token;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      state     <= IDLE;
      tile      <= '0;
      token     <= '0;
      left      <= '0;
      heads     <= '0;
      q_page    <= 1'b0;
      page_busy <= 1'b0;
      settle    <= '0;
      beat_k    <= 1'b0;
      beat_v    <= 1'b0;
    end else begin
      beat_k <= take_k;
      beat_v <= take_v;
      if (take_k || take_v) begin
        tile <= last_tile ? '0 : tile + 1'b1;
        if (last_tile) token <= last_token ? '0 : token + 1'b1;
      end
      if (end_v) page_busy <= 1'b1;
      else if (page_free) page_busy <= 1'b0;
      case (state)
        IDLE: if (cmd_valid) state <= START;
        START: begin
          left   <= n_tok;
          heads  <= head_groups;
          settle <= '0;
          state  <= empty ? FLUSH : KEYS;
        end
        KEYS: if (take_k && last_tile && last_token) state <= SCORES;
        SCORES:
        if (scores_done) begin
          q_page <= ~q_page;
          state  <= VALUES;
        end
        VALUES:
        if (end_v) begin
          left <= last_group ? n_tok : left - (TOK_AW + 1)'(ROWS);
          if (last_group) heads <= heads - 1'b1;
          state <= (last_group && heads == 16'd1) ? FLUSH : KEYS;
        end
        FLUSH: begin
          // the last clipped values are still being counted when the last beat is gone
          if (drained && !page_busy) settle <= settle + 1'b1;
          if (settle == 5'(SETTLE)) state <= STATUS;
        end
        default: if (status_ready) state <= IDLE;
      endcase
    end
  end

  always_ff @(posedge clk) begin
    if (cmd_ready) begin
      n_tok       <= cmd_data[TOK_AW:0];
      token_max   <= cmd_data[TOK_AW-1:0] - 1'b1;
      tile_max    <= cmd_data[16+:TILE_AW] - 1'b1;
      head_groups <= cmd_data[47:32];
      score_shift <= cmd_data[49:48];
      out_shift   <= cmd_data[60:56];
      score_mult  <= cmd_data[80:64];
      out_mult    <= cmd_data[111:96];
      empty       <= cmd_data[15:0] == '0 || cmd_data[31:16] == '0 || cmd_data[47:32] == '0;
    end
    beat             <= (state == KEYS) ? k_data : v_data;
    beat_first_tile  <= tile == '0;
    beat_last_tile   <= last_tile;
    beat_first_token <= token == '0;
    beat_last_token  <= last_token;
    beat_tile        <= tile;
    beat_token       <= token;
  end
endmodule
