// Weight beats into rows of the MAC tiles: int8 beats hold W_ROWS channels, ternary ones
// 4 * W_ROWS. Loads the shadow weights of the next tile, also beyond the end of a command;
// `full` tells that they are complete, `swap` (only while full) that they have become active.
// `load` (of W_ROWS channels each) and `rows` are staggered by tap for the hwmoe_dot_pairs of all
// lanes; their cycle there is the one after the beat was taken. The beats are staggered before
// they are spread over the slots: a fraction of the bits.
//
// CODES = 1, for hwmoe_dot_ternary: all beats are ternary, and `rows` are their codes; a bit of
// `load` is 4 * W_ROWS channels.
module hwmoe_linear_weights #(
    parameter int T_IN = 16,
    parameter int T_OUT = 16,
    parameter int W_ROWS = 1,
    parameter bit PRIMITIVE = 0,
    parameter bit CODES = 0,
    parameter int LOADS = 1,
    parameter int W_BITS = CODES ? 2 : 8
) (
    input  logic                         clk,
    input  logic                         rst_n,
    input  logic                         cmd_valid,
    output logic                         cmd_ready,
    input  logic [                 15:0] in_tiles,
    input  logic [                 15:0] out_tiles,
    /* verilator lint_off UNUSEDSIGNAL */  // CODES: nothing else comes
    input  logic                         ternary,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic                         w_valid,
    output logic                         w_ready,
    input  logic [    8*T_IN*W_ROWS-1:0] w_data,
    input  logic                         swap,
    output logic                         full,
    output logic [            LOADS-1:0] load,
    output logic [ 4*W_BITS*T_IN*W_ROWS-1:0] rows
);
  localparam int SLOTS = 4 * W_ROWS;
  localparam int BEATS8 = T_OUT / W_ROWS;
  localparam int BEATS2 = T_OUT / SLOTS;
  localparam int BW = $clog2(BEATS8);

  logic          active;
  logic [  15:0] tiles_in;
  logic [  15:0] in_left;
  logic [  15:0] out_left;
  logic          codes;
  logic [BW-1:0] beat;
  logic          take;
  logic          last_beat;
  logic          last_tile;

  assign cmd_ready = ~active | (take & last_beat & last_tile);
  assign w_ready   = active & (~full | swap);
  assign take      = w_valid & w_ready;
  assign last_beat = beat == (codes ? BW'(BEATS2 - 1) : BW'(BEATS8 - 1));
  assign last_tile = (in_left == 16'd1) & (out_left == 16'd1);

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      active <= 1'b0;
      full   <= 1'b0;
      beat   <= '0;
    end else begin
      if (cmd_ready) active <= cmd_valid;
      full <= (take & last_beat) | (full & ~swap);
      if (take) beat <= last_beat ? '0 : beat + 1'b1;
    end
  end

  always_ff @(posedge clk) begin
    if (cmd_ready) begin
      tiles_in <= in_tiles;
      in_left  <= in_tiles;
      out_left <= out_tiles;
      codes    <= CODES | ternary;
    end else if (take & last_beat) begin
      if (in_left == 16'd1) begin
        in_left  <= tiles_in;
        out_left <= out_left - 1'b1;
      end else begin
        in_left <= in_left - 1'b1;
      end
    end
  end

  generate
    if (CODES) begin : g_codes
      always_ff @(posedge clk) begin
        for (int k = 0; k < LOADS; k++) load[k] <= rst_n & take & (beat == BW'(k));
        rows <= w_data;
      end
    end else begin : g_spread
      localparam int FIELD = 2 * 8 * W_ROWS;  // of a tap: bytes, codes; of the other kind zero

      logic [    BEATS8-1:0] load_1;
      logic [FIELD*T_IN-1:0] fields;
      logic [FIELD*T_IN-1:0] late;

      always_ff @(posedge clk) begin
        if (!rst_n) load_1 <= '0;
        else begin
          for (int k = 0; k < BEATS8; k++) load_1[k] <= take & (beat == (codes ? BW'(k / 4) : BW'(k)));
        end
      end

      // The zeros, and the set of the rows, are resets and sets of registers: no LUT.
      always_ff @(posedge clk) begin
        for (int i = 0; i < T_IN; i++) begin
          for (int r = 0; r < W_ROWS; r++) begin
            fields[FIELD*i+8*r+:8] <= codes ? 8'd0 : w_data[8*(T_IN*r+i)+:8];
          end
          for (int s = 0; s < SLOTS; s++) begin
            fields[FIELD*i+8*W_ROWS+2*s+:2] <= codes ? w_data[2*(T_IN*s+i)+:2] : 2'd0;
          end
        end
      end

      hwmoe_dot_skew #(
          .T_IN(T_IN),
          .FIELD(FIELD),
          .PRIMITIVE(PRIMITIVE)
      ) i_skew (
          .clk,
          .d(fields),
          .q(late)
      );

      hwmoe_dot_pulse #(
          .T_IN(T_IN),
          .N(BEATS8),
          .PRIMITIVE(PRIMITIVE)
      ) i_load (
          .clk,
          .d(load_1),
          .q(load)
      );

      always_ff @(posedge clk) begin
        for (int s = 0; s < SLOTS; s++) begin
          for (int i = 0; i < T_IN; i++) begin
            rows[8*(T_IN*s+i)+1+:7] <= late[FIELD*i+8*W_ROWS+2*s+1]
                ? 7'h7f : late[FIELD*i+8*(s%W_ROWS)+1+:7];
            rows[8*(T_IN*s+i)] <= late[FIELD*i+8*W_ROWS+2*s] | late[FIELD*i+8*(s%W_ROWS)];
          end
        end
      end
    end
  endgenerate
endmodule
