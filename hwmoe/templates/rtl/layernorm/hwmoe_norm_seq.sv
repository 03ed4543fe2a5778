// Holds a command and leads three streams through the kernel, each at its own pace: x beats in, to
// the sums and the memory of words; parameter beats in, once; words out of the memory again, a beat
// a cycle, each token as soon as its row result waits at `row_valid`. Then the status.
//
// Nothing is ever held in between: a beat of x is taken only if the memory has a word free and, for
// the first of a token, the queue of row results a place; a word is read (`step`) only if the output
// FIFO has a place.
module hwmoe_norm_seq #(
    parameter int LANES = 8,
    parameter int TILE_AW = 5,
    parameter int WORD_AW = 7,
    parameter int ROWS = 64,
    parameter int ROOM = 32,
    parameter int SETTLE = 5
) (
    input  logic                clk,
    input  logic                rst_n,
    /* verilator lint_off UNUSEDSIGNAL */  // fields are wider than this kernel's sizes
    input  logic [       127:0] cmd_data,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic                cmd_valid,
    output logic                cmd_ready,
    input  logic [16*LANES-1:0] x_data,
    input  logic                x_valid,
    output logic                x_ready,
    /* verilator lint_off UNUSEDSIGNAL */  // a gain has 18 of its 32 bits
    input  logic [64*LANES-1:0] p_data,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic                p_valid,
    output logic                p_ready,
    output logic                status_valid,
    input  logic                status_ready,
    // the command, from `start` (high for one cycle) on
    output logic                start,
    output logic [        10:0] dim,
    output logic [         1:0] shift,
    output logic [        40:0] eps,
    // a beat of x, one cycle after it was taken; lanes past the last channel are zero
    output logic                beat_valid,
    output logic                beat_first,
    output logic                beat_last,
    output logic [ WORD_AW-1:0] beat_addr,
    output logic [16*LANES-1:0] beat,
    // parameters of a tile, 50 bits a channel: bias, gain; zero past the last channel
    output logic                p_we,
    output logic [ TILE_AW-1:0] p_waddr,
    output logic [50*LANES-1:0] p_wdata,
    // reading
    input  logic                row_valid,
    output logic                row_take,
    output logic                step,
    output logic [ TILE_AW-1:0] step_tile,
    output logic [ WORD_AW-1:0] step_addr,
    // a beat of output has been taken
    input  logic                room_back
);
  localparam logic [2:0] IDLE = 3'd0;
  localparam logic [2:0] START = 3'd1;
  localparam logic [2:0] RUN = 3'd2;
  localparam logic [2:0] FLUSH = 3'd3;
  localparam logic [2:0] STATUS = 3'd4;

  logic [        2:0] state;
  logic               empty;
  logic [       15:0] n_tok;
  logic [TILE_AW-1:0] tile_max;
  logic [        4:0] settle;

  logic               x_on;
  logic               x_first;
  logic               x_last;
  logic               x_take;
  logic [TILE_AW-1:0] x_tile;
  logic [       15:0] x_left;
  logic [WORD_AW-1:0] x_addr;
  logic [  LANES-1:0] x_mask;
  logic               p_on;
  logic               p_last;
  logic               p_take;
  logic [TILE_AW-1:0] p_tile;
  logic [  LANES-1:0] p_mask;
  logic               y_on;
  logic               y_first;
  logic               y_last;
  logic [       15:0] y_left;
  logic               has_word;
  logic               has_row;
  logic               has_room;
  logic               sent;

  assign cmd_ready    = state == IDLE;
  assign start        = state == START;
  assign status_valid = state == STATUS;

  assign x_ready  = x_on & has_word & (has_row | ~x_first);
  assign x_take   = x_ready & x_valid;
  assign x_last   = x_tile == tile_max;
  assign p_ready  = p_on;
  assign p_take   = p_on & p_valid;
  assign p_last   = p_tile == tile_max;
  assign step     = y_on & has_room & ~p_on & (row_valid | ~y_first);
  assign row_take = step & y_first;
  assign y_last   = step_tile == tile_max;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      state      <= IDLE;
      x_on       <= 1'b0;
      p_on       <= 1'b0;
      y_on       <= 1'b0;
      x_addr     <= '0;
      step_addr  <= '0;
      beat_valid <= 1'b0;
      p_we       <= 1'b0;
    end else begin
      unique case (state)
        IDLE: if (cmd_valid) state <= START;
        START: state <= empty ? STATUS : RUN;
        RUN: if (~y_on & sent) state <= FLUSH;
        FLUSH: if (settle == '0) state <= STATUS;
        default: if (status_ready) state <= IDLE;
      endcase
      if (start) begin
        x_on <= ~empty;
        p_on <= ~empty;
        y_on <= ~empty;
      end else begin
        if (x_take & x_last & (x_left == 16'd1)) x_on <= 1'b0;
        if (p_take & p_last) p_on <= 1'b0;
        if (step & y_last & (y_left == 16'd1)) y_on <= 1'b0;
      end
      if (x_take) x_addr <= x_addr + 1'b1;
      if (step) step_addr <= step_addr + 1'b1;
      beat_valid <= x_take;
      p_we       <= p_take;
    end
  end

  always_ff @(posedge clk) begin
    if (cmd_ready) begin
      n_tok    <= cmd_data[15:0];
      tile_max <= cmd_data[16+:TILE_AW] - 1'b1;
      dim      <= cmd_data[42:32];
      shift    <= cmd_data[49:48];
      eps      <= cmd_data[104:64];
      empty    <= cmd_data[15:0] == '0 || cmd_data[31:16] == '0;
    end
    settle <= (state == FLUSH) ? settle - 1'b1 : 5'(SETTLE);
    if (start) begin
      x_tile    <= '0;
      x_first   <= 1'b1;
      x_left    <= n_tok;
      p_tile    <= '0;
      step_tile <= '0;
      y_first   <= 1'b1;
      y_left    <= n_tok;
    end else begin
      if (x_take) begin
        x_tile  <= x_last ? '0 : x_tile + 1'b1;
        x_first <= x_last;
        if (x_last) x_left <= x_left - 1'b1;
      end
      if (p_take) p_tile <= p_tile + 1'b1;
      if (step) begin
        step_tile <= y_last ? '0 : step_tile + 1'b1;
        y_first   <= y_last;
        if (y_last) y_left <= y_left - 1'b1;
      end
    end
    beat_first <= x_first;
    beat_last  <= x_last;
    beat_addr  <= x_addr;
    p_waddr    <= p_tile;
    for (int l = 0; l < LANES; l++) begin
      beat[16*l+:16]    <= x_mask[l] ? x_data[16*l+:16] : '0;
      p_wdata[50*l+:50] <= p_mask[l] ? {p_data[64*l+32+:32], p_data[64*l+:18]} : '0;
    end
  end

  hwmoe_norm_mask #(
      .LANES(LANES)
  ) i_x_mask (
      .clk,
      .start,
      .step(x_take),
      .last(x_last),
      .dim,
      .mask(x_mask)
  );

  hwmoe_norm_mask #(
      .LANES(LANES)
  ) i_p_mask (
      .clk,
      .start,
      .step(p_take),
      .last(p_last),
      .dim,
      .mask(p_mask)
  );

  /* verilator lint_off PINCONNECTEMPTY */
  hwmoe_norm_credit #(
      .N(1 << WORD_AW)
  ) i_words (
      .clk,
      .rst_n,
      .take(x_take),
      .back(step),
      .has (has_word),
      .idle()
  );

  hwmoe_norm_credit #(
      .N(ROWS)
  ) i_rows (
      .clk,
      .rst_n,
      .take(x_take & x_first),
      .back(row_take),
      .has (has_row),
      .idle()
  );
  /* verilator lint_on PINCONNECTEMPTY */

  hwmoe_norm_credit #(
      .N(ROOM)
  ) i_room (
      .clk,
      .rst_n,
      .take(step),
      .back(room_back),
      .has (has_room),
      .idle(sent)
  );
endmodule
