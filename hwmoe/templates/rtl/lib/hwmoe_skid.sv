// Register slice of a stream: both directions registered, one beat a cycle, two beats deep.
module hwmoe_skid #(
    parameter int W = 8
) (
    input  logic         clk,
    input  logic         rst_n,
    input  logic         s_valid,
    output logic         s_ready,
    input  logic [W-1:0] s_data,
    output logic         m_valid,
    input  logic         m_ready,
    output logic [W-1:0] m_data
);
  logic         spare_valid;
  logic [W-1:0] spare;
  logic         accept;
  logic         move;

  assign accept = s_valid & s_ready;
  assign move   = m_ready | ~m_valid;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      s_ready     <= 1'b0;
      m_valid     <= 1'b0;
      spare_valid <= 1'b0;
    end else if (move) begin
      s_ready     <= 1'b1;
      m_valid     <= accept | spare_valid;
      spare_valid <= 1'b0;
    end else if (accept) begin
      s_ready     <= 1'b0;
      spare_valid <= 1'b1;
    end else begin
      s_ready <= ~spare_valid;
    end
  end

  always_ff @(posedge clk) begin
    if (move) m_data <= spare_valid ? spare : s_data;
    if (accept) spare <= s_data;
  end
endmodule
