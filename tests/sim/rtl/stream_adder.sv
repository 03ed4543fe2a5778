// Two streams added lane by lane (int8), with a two-entry skid buffer: full speed, registered
// outputs. The first beat of s_axis_mode says which rule to break (see test_cocotb_streams.py);
// nothing moves before it.
module stream_adder #(
    parameter int LANES = 260
) (
    input  logic               ap_clk,
    input  logic               ap_rst_n,
    input  logic [        7:0] s_axis_mode_TDATA,
    input  logic               s_axis_mode_TVALID,
    output logic               s_axis_mode_TREADY,
    input  logic [8*LANES-1:0] s_axis_a_TDATA,
    input  logic               s_axis_a_TVALID,
    output logic               s_axis_a_TREADY,
    input  logic [8*LANES-1:0] s_axis_b_TDATA,
    input  logic               s_axis_b_TVALID,
    output logic               s_axis_b_TREADY,
    output logic [8*LANES-1:0] m_axis_y_TDATA,
    output logic               m_axis_y_TVALID,
    input  logic               m_axis_y_TREADY
);
  localparam logic [7:0] DROP = 1, CHANGE = 2, STOP = 3, REPEAT = 4, WAIT = 5, RESET = 6, FATAL = 7;
  localparam logic [7:0] LAST = 7;  // beat number, counted from 0, at which a fault shows

  logic [8*LANES-1:0] sum, skid, head;
  logic skid_full, head_full, take, give, held, started, repeated;
  logic [7:0] mode, taken;

  initial mode = '0;
  assign s_axis_mode_TREADY = !started;
  assign take = started && s_axis_a_TVALID && s_axis_b_TVALID && !skid_full
      && !(mode == STOP && taken == LAST);
  assign give = m_axis_y_TVALID && m_axis_y_TREADY
      && !(mode == REPEAT && taken >= LAST && !repeated);
  assign s_axis_a_TREADY = take;
  assign s_axis_b_TREADY = take;
  assign m_axis_y_TVALID = (head_full && !(mode == DROP && held)
      && !(mode == WAIT && !m_axis_y_TREADY)) || (mode == RESET && !ap_rst_n);
  assign m_axis_y_TDATA = (mode == CHANGE && held) ? ~head : head;

  always_comb
    for (int l = 0; l < LANES; l++)
      sum[8*l+:8] = s_axis_a_TDATA[8*l+:8] + s_axis_b_TDATA[8*l+:8];

  always_ff @(posedge ap_clk) begin
    held <= m_axis_y_TVALID && !m_axis_y_TREADY;
    if (s_axis_mode_TVALID && s_axis_mode_TREADY) begin
      mode <= s_axis_mode_TDATA;  // not reset, for RESET
      started <= 1'b1;
    end
    if (take && taken != 8'hff) taken <= taken + 1;
    if (m_axis_y_TVALID && m_axis_y_TREADY && taken >= LAST) repeated <= 1'b1;
    if (mode == FATAL && taken == LAST) $fatal(1, "told to give up");
    if (give || !head_full) begin
      head <= skid_full ? skid : sum;
      head_full <= skid_full || take;
      skid_full <= 1'b0;
    end else if (take) begin
      skid <= sum;
      skid_full <= 1'b1;
    end
    if (!ap_rst_n) begin
      head_full <= 1'b0;
      skid_full <= 1'b0;
      started <= 1'b0;
      repeated <= 1'b0;
      taken <= '0;
    end
  end
endmodule
