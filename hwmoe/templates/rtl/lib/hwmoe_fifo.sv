// Small FIFO in distributed RAM, DEPTH >= 2. The head is on m_data while m_valid is high; a beat
// written in cycle c can be taken in cycle c+1. s_ready does not depend on m_ready.
module hwmoe_fifo #(
    parameter int W = 8,
    parameter int DEPTH = 16
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
  localparam int AW = $clog2(DEPTH);
  localparam logic [AW-1:0] LAST = AW'(DEPTH - 1);

  (* ram_style = "distributed" *) logic [W-1:0] mem[0:DEPTH-1];
  logic [AW-1:0] head;
  logic [AW-1:0] tail;
  logic [  AW:0] count;
  logic          push;
  logic          pop;

  assign push   = s_valid & s_ready;
  assign pop    = m_valid & m_ready;
  assign m_data = mem[head];

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      head    <= '0;
      tail    <= '0;
      count   <= '0;
      s_ready <= 1'b0;
      m_valid <= 1'b0;
    end else begin
      if (push) tail <= (tail == LAST) ? '0 : tail + 1'b1;
      if (pop) head <= (head == LAST) ? '0 : head + 1'b1;
      if (push & ~pop) begin
        count   <= count + 1'b1;
        m_valid <= 1'b1;
        s_ready <= count != (AW + 1)'(DEPTH - 1);
      end else if (pop & ~push) begin
        count   <= count - 1'b1;
        m_valid <= count != (AW + 1)'(1);
        s_ready <= 1'b1;
      end else begin
        s_ready <= count != (AW + 1)'(DEPTH);
      end
    end
  end

  always_ff @(posedge clk) begin
    if (push) mem[tail] <= s_data;
  end
endmodule
