// FIFO in block RAM, DEPTH beats (a power of two), output registered. Whoever writes has counted
// the places: `freed` is high in a cycle in which one becomes free. Up to four more beats stand in
// the registers behind the RAM. A beat leaves at the earliest 4 cycles after it was written.
module hwmoe_axi_buffer #(
    parameter int W = 128,
    parameter int DEPTH = 512
) (
    input  logic         clk,
    input  logic         rst_n,
    input  logic         s_valid,
    input  logic [W-1:0] s_data,
    output logic         freed,
    output logic         m_valid,
    input  logic         m_ready,
    output logic [W-1:0] m_data
);
  localparam int AW = $clog2(DEPTH);

  logic [AW-1:0] head, tail;
  logic [AW:0] stored;
  logic have;  // stored != 0
  logic read_valid, out_valid;  // the RAM's two output registers
  logic read_moves, out_moves, skid_ready;
  logic [W-1:0] read_data, out_data;

  assign out_moves  = ~out_valid | skid_ready;
  assign read_moves = ~read_valid | out_moves;
  assign freed      = have & read_moves;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      head       <= '0;
      tail       <= '0;
      stored     <= '0;
      have       <= 1'b0;
      read_valid <= 1'b0;
      out_valid  <= 1'b0;
    end else begin
      if (s_valid) tail <= tail + 1'b1;
      if (freed) head <= head + 1'b1;
      if (s_valid & ~freed) begin
        stored <= stored + 1'b1;
        have   <= 1'b1;
      end else if (freed & ~s_valid) begin
        stored <= stored - 1'b1;
        have   <= stored != (AW + 1)'(1);
      end
      if (read_moves) read_valid <= freed;
      if (out_moves) out_valid <= read_valid;
    end
  end

  always_ff @(posedge clk) begin
    if (out_moves) out_data <= read_data;
  end

  hwmoe_ram_sdp #(
      .W(W),
      .DEPTH(DEPTH)
  ) i_ram (
      .clk,
      .we(s_valid),
      .waddr(tail),
      .wdata(s_data),
      .re(freed),
      .raddr(head),
      .rdata(read_data)
  );

  hwmoe_skid #(
      .W(W)
  ) i_out (
      .clk,
      .rst_n,
      .s_valid(out_valid),
      .s_ready(skid_ready),
      .s_data (out_data),
      .m_valid,
      .m_ready,
      .m_data
  );
endmodule
