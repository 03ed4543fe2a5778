// Two int8-lane streams added lane by lane, with a two-entry skid buffer: full speed, all outputs
// registered. FAULT breaks one rule of the handshake on purpose (see tests/sim/test_streams.py).
module stream_adder #(
    parameter int LANES = 4,
    parameter int FAULT = 0
) (
    input  logic                 ap_clk,
    input  logic                 ap_rst_n,
    input  logic [8*LANES-1:0]   s_axis_a_TDATA,
    input  logic                 s_axis_a_TVALID,
    output logic                 s_axis_a_TREADY,
    input  logic [8*LANES-1:0]   s_axis_b_TDATA,
    input  logic                 s_axis_b_TVALID,
    output logic                 s_axis_b_TREADY,
    output logic [8*LANES-1:0]   m_axis_y_TDATA,
    output logic                 m_axis_y_TVALID,
    input  logic                 m_axis_y_TREADY
);
  logic [8*LANES-1:0] sum, skid, head;
  logic skid_full, head_full, take, give;

  assign take = s_axis_a_TVALID && s_axis_b_TVALID && !skid_full;
  assign give = head_full && m_axis_y_TREADY;
  assign s_axis_a_TREADY = take;
  assign s_axis_b_TREADY = take;
  assign m_axis_y_TVALID = head_full;
  assign m_axis_y_TDATA = head;

  always_comb
    for (int l = 0; l < LANES; l++)
      sum[8*l+:8] = s_axis_a_TDATA[8*l+:8] + s_axis_b_TDATA[8*l+:8];

  always_ff @(posedge ap_clk) begin
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
    end
  end
endmodule
