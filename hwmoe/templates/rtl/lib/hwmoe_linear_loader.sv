// Fills the activation memory and the token list, command by command, at most one command ahead
// of the sequencer. A command may be loaded while the one before is computed if its words are not
// those still being read; the list memory has two pages, used in turn.
//
// `begun`: loading of the sequencer's next command has begun, now or before. `seq_free`: the
// sequencer has no command. For the sequencer's present command `x_ptr` is the next word to be
// written and `list_groups` the number of complete groups of T_TOK rows; both count only until
// `x_all` and `list_all` tell that everything is there.
module hwmoe_linear_loader #(
    parameter int T_IN = 16,
    parameter int T_TOK = 1,
    parameter int XW = 9,
    parameter int GW = 6
) (
    input  logic              clk,
    input  logic              rst_n,
    input  logic              cmd_valid,
    output logic              cmd_ready,
    input  logic [      15:0] n_tok,
    input  logic [      15:0] n_list,
    input  logic [      15:0] in_tiles,
    input  logic [    XW-1:0] x_base,
    input  logic              load_x,
    input  logic              gather,
    input  logic              seq_free,
    input  logic              start,
    output logic              begun,
    input  logic              x_valid,
    output logic              x_ready,
    input  logic [8*T_IN-1:0] x_data,
    output logic              x_we,
    output logic [    XW-1:0] x_waddr,
    output logic [8*T_IN-1:0] x_wdata,
    output logic [      XW:0] x_ptr,
    output logic              x_all,
    input  logic              list_valid,
    output logic              list_ready,
    input  logic [    XW-1:0] list_data,
    output logic [ T_TOK-1:0] list_we,
    output logic [      GW:0] list_waddr,
    output logic [    XW-1:0] list_wdata,
    output logic [      GW:0] list_groups,
    output logic              list_all
);
  // The command taken, and its words [first, stop)
  logic             waiting;  // not begun yet
  logic [      2:0] steps;  // of the computation and comparison of `stop`; bit 0: done
  logic [     15:0] tokens;
  logic [     15:0] tiles;
  logic [     15:0] listed;
  logic             loads;
  logic             gathers;
  logic [     XW:0] first;
  logic [     XW:0] words;
  logic [     XW:0] stop;
  logic [     XW:0] old_first;  // of the command before
  logic [     XW:0] old_stop;
  logic             apart;
  logic             pending;  // begun, but not yet started by the sequencer
  logic             take;
  logic             may_begin;
  logic             begin_now;

  logic             x_active;
  logic [     15:0] tok_left;
  logic [     15:0] tiles_left;
  logic             list_active;
  logic [     15:0] list_left;
  logic [T_TOK-1:0] lane;
  logic             list_page;

  assign cmd_ready = ~waiting & ~x_active & ~list_active & steps[0];
  assign take      = cmd_valid & cmd_ready;
  assign may_begin = seq_free | (steps[0] & (apart | ~loads));
  assign begin_now = waiting & ~pending & may_begin;
  assign begun     = begin_now | pending;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      waiting <= 1'b0;
      pending <= 1'b0;
      steps   <= 3'b111;
    end else begin
      waiting <= take | (waiting & ~begin_now);
      pending <= begun & ~start;
      steps   <= take ? 3'b000 : {1'b1, steps[2:1]};
    end
  end

  always_ff @(posedge clk) begin
    if (take) begin
      tokens    <= n_tok;
      tiles     <= in_tiles;
      listed    <= n_list;
      loads     <= load_x;
      gathers   <= gather;
      first     <= {1'b0, x_base};
      old_first <= first;
      old_stop  <= stop;
    end
    words <= (XW + 1)'(tokens) * (XW + 1)'(tiles);
    stop  <= first + words;
    apart <= (first >= old_stop) | (stop <= old_first);
  end

  assign x_ready = x_active;
  assign x_we    = x_active & x_valid;
  assign x_waddr = x_ptr[XW-1:0];
  assign x_wdata = x_data;
  assign x_all   = pending | ~x_active;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      x_active <= 1'b0;
    end else if (begin_now) begin
      x_active <= loads & (tokens != '0) & (tiles != '0);
    end else if (x_we & (tok_left == 16'd1) & (tiles_left == 16'd1)) begin
      x_active <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin
    if (begin_now) begin
      tok_left   <= tokens;
      tiles_left <= tiles;
      x_ptr      <= first;
    end else if (x_we) begin
      x_ptr <= x_ptr + 1'b1;
      if (tok_left == 16'd1) begin
        tok_left   <= tokens;
        tiles_left <= tiles_left - 1'b1;
      end else begin
        tok_left <= tok_left - 1'b1;
      end
    end
  end

  assign list_ready = list_active;
  assign list_we    = (list_active & list_valid) ? lane : '0;
  assign list_waddr = {list_page, list_groups[GW-1:0]};
  assign list_wdata = list_data;
  assign list_all   = pending | ~list_active;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      list_active <= 1'b0;
      list_page   <= 1'b0;
    end else if (begin_now) begin
      list_active <= gathers & (listed != '0);
      list_page   <= ~list_page;
    end else if (list_valid & (list_left == 16'd1)) begin
      list_active <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin
    if (begin_now) begin
      list_left   <= listed;
      list_groups <= '0;
      lane        <= T_TOK'(1);
    end else if (list_active & list_valid) begin
      list_left <= list_left - 1'b1;
      lane      <= T_TOK'({lane, lane[T_TOK-1]});
      if (lane[T_TOK-1]) list_groups <= list_groups + 1'b1;
    end
  end
endmodule
