// Reads the activations of linear instructions from act8 in order, a word a cycle, to the kernel:
// words src .. src + n_tok * in_tiles - 1, both factors > 0. With `after` = n > 0 a command waits
// until at most n - 1 instructions before it (`number` - `completed`) are not complete.
// `xr`: a read; its word comes 3 cycles after the grant, and there is always room for it.
module hwmoe_linear_xfeed #(
    parameter int WORD = 128,
    parameter int QUEUE = 4,
    parameter int ROOM = 16
) (
    input  logic            clk,
    input  logic            rst_n,
    input  logic            s_valid,
    output logic            s_ready,
    input  logic [    15:0] s_src,
    input  logic [    15:0] s_n_tok,
    input  logic [    15:0] s_in_tiles,
    input  logic [     7:0] s_after,
    input  logic [     7:0] s_number,
    input  logic [     7:0] completed,
    output logic            xr_valid,
    input  logic            xr_ready,
    output logic [    15:0] xr_addr,
    input  logic            xr_dvalid,
    input  logic [WORD-1:0] xr_data,
    output logic            x_valid,
    input  logic            x_ready,
    output logic [WORD-1:0] x_data
);
  logic        next_valid;
  logic        next_ready;
  logic [15:0] next_src;
  logic [15:0] next_n_tok;
  logic [15:0] next_in_tiles;
  logic [ 7:0] next_after;
  logic [ 7:0] next_number;
  logic [ 7:0] unfinished;  // instructions before the next command that are not complete
  logic        may;
  logic        active;
  logic        has_room;
  logic        grant;
  logic        last;
  logic [15:0] n_tok;
  logic [15:0] tok_left;
  logic [15:0] tiles_left;

  hwmoe_fifo #(
      .W(64),
      .DEPTH(QUEUE)
  ) i_commands (
      .clk,
      .rst_n,
      .s_valid,
      .s_ready,
      .s_data({s_src, s_n_tok, s_in_tiles, s_after, s_number}),
      .m_valid(next_valid),
      .m_ready(next_ready),
      .m_data({next_src, next_n_tok, next_in_tiles, next_after, next_number})
  );

  assign unfinished = next_number - completed;
  assign may        = (next_after == '0) | (unfinished < next_after);
  assign xr_valid   = active & has_room;
  assign grant      = xr_valid & xr_ready;
  assign last       = (tok_left == 16'd1) & (tiles_left == 16'd1);
  assign next_ready = may & (~active | (grant & last));

  always_ff @(posedge clk) begin
    if (!rst_n) active <= 1'b0;
    else active <= (next_valid & next_ready) | (active & ~(grant & last));
  end

  always_ff @(posedge clk) begin
    if (next_ready) begin
      xr_addr    <= next_src;
      n_tok      <= next_n_tok;
      tok_left   <= next_n_tok;
      tiles_left <= next_in_tiles;
    end else if (grant) begin
      xr_addr <= xr_addr + 1'b1;
      if (tok_left == 16'd1) begin
        tok_left   <= n_tok;
        tiles_left <= tiles_left - 1'b1;
      end else begin
        tok_left <= tok_left - 1'b1;
      end
    end
  end

  hwmoe_linear_window #(
      .W(WORD),
      .ROOM(ROOM)
  ) i_window (
      .clk,
      .rst_n,
      .ask(grant),
      .has_room,
      .d_valid(xr_dvalid),
      .d_data(xr_data),
      .m_valid(x_valid),
      .m_ready(x_ready),
      .m_data(x_data)
  );
endmodule
