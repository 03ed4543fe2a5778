// Holds a command and takes its logits. A token's first logit is taken only if the output FIFO has
// room for the token's k results, so nothing behind ever waits. `back`: a result has been taken.
module hwmoe_gate_seq #(
    parameter int EXPERT_W = 6,
    parameter int ROOM = 128
) (
    input  logic                clk,
    input  logic                rst_n,
    /* verilator lint_off UNUSEDSIGNAL */  // fields are wider than this kernel's sizes
    input  logic [       127:0] cmd_data,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic                cmd_valid,
    output logic                cmd_ready,
    input  logic [        15:0] x_data,
    input  logic                x_valid,
    output logic                x_ready,
    output logic                status_valid,
    input  logic                status_ready,
    output logic [         3:0] k,
    output logic [         1:0] shift,
    output logic [        16:0] mult,
    // a logit, one cycle after it was taken
    output logic                beat_valid,
    output logic                beat_first,
    output logic                beat_last,
    output logic [        15:0] beat,
    output logic [EXPERT_W-1:0] beat_expert,
    input  logic                back
);
  localparam int RW = $clog2(ROOM + 1);
  localparam logic [1:0] IDLE = 2'd0;
  localparam logic [1:0] START = 2'd1;
  localparam logic [1:0] RUN = 2'd2;
  localparam logic [1:0] STATUS = 2'd3;

  logic [         1:0] state;
  logic                empty;
  logic                on;
  logic                first;
  logic                last;
  logic                take;
  logic [EXPERT_W-1:0] expert;
  logic [EXPERT_W-1:0] expert_max;
  logic [        15:0] left;
  logic [      RW-1:0] room;
  logic                sent;

  assign cmd_ready    = state == IDLE;
  assign status_valid = state == STATUS;
  assign x_ready      = on & (~first | (room >= RW'(k)));
  assign take         = x_ready & x_valid;
  assign last         = expert == expert_max;
  assign sent         = room == RW'(ROOM);

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      state      <= IDLE;
      on         <= 1'b0;
      room       <= RW'(ROOM);
      beat_valid <= 1'b0;
    end else begin
      unique case (state)
        IDLE: if (cmd_valid) state <= START;
        START: state <= empty ? STATUS : RUN;
        RUN: if (~on & sent) state <= STATUS;
        default: if (status_ready) state <= IDLE;
      endcase
      if (state == START) on <= ~empty;
      else if (take & last & (left == 16'd1)) on <= 1'b0;
      room       <= room - ((take & first) ? RW'(k) : '0) + RW'(back);
      beat_valid <= take;
    end
  end

  always_ff @(posedge clk) begin
    if (cmd_ready) begin
      left       <= cmd_data[15:0];
      expert_max <= cmd_data[16+:EXPERT_W] - 1'b1;
      k          <= cmd_data[35:32];
      shift      <= cmd_data[41:40];
      mult       <= cmd_data[80:64];
      empty      <= cmd_data[15:0] == '0 || cmd_data[31:16] == '0 || cmd_data[39:32] == '0;
      expert     <= '0;
      first      <= 1'b1;
    end else if (take) begin
      expert <= last ? '0 : expert + 1'b1;
      first  <= last;
      if (last) left <= left - 1'b1;
    end
    beat        <= x_data;
    beat_first  <= first;
    beat_last   <= last;
    beat_expert <= expert;
  end
endmodule
