// One register between two wide streams (bitwise inverse): no buffer, TREADY goes through.
module wide_negate #(
    parameter int BITS = 4096
) (
    input  logic            ap_clk,
    input  logic            ap_rst_n,
    input  logic [BITS-1:0] s_axis_x_TDATA,
    input  logic            s_axis_x_TVALID,
    output logic            s_axis_x_TREADY,
    output logic [BITS-1:0] m_axis_y_TDATA,
    output logic            m_axis_y_TVALID,
    input  logic            m_axis_y_TREADY
);
  assign s_axis_x_TREADY = !m_axis_y_TVALID || m_axis_y_TREADY;
  always_ff @(posedge ap_clk) begin
    if (s_axis_x_TREADY) begin
      m_axis_y_TVALID <= s_axis_x_TVALID;
      m_axis_y_TDATA  <= ~s_axis_x_TDATA;
    end
    if (!ap_rst_n) m_axis_y_TVALID <= 1'b0;
  end
endmodule
