// Cuts commands (c_addr in bytes, beat-aligned; c_len beats, > 0) into bursts, in order: at most
// one in two cycles. A burst ends where a block of min(MAX_BURST, 4 KiB) ends, so none crosses
// 4 KiB. MAX_BURST: beats, a power of two, 2 to 256.
//   b_*   the next burst: address, beats (1 to 256), whether it is the last of its command
module hwmoe_axi_plan #(
    parameter int PORT_BITS = 128,
    parameter int MAX_BURST = 64,
    parameter int COMMANDS  = 4
) (
    input  logic        clk,
    input  logic        rst_n,
    input  logic        c_valid,
    output logic        c_ready,
    input  logic [63:0] c_addr,
    input  logic [31:0] c_len,
    output logic        b_valid,
    input  logic        b_ready,
    output logic [63:0] b_addr,
    output logic [ 8:0] b_beats,
    output logic        b_last
);
  localparam int BYTE_W = $clog2(PORT_BITS / 8);
  localparam int PAGE = 4096 / (PORT_BITS / 8);
  localparam int BLOCK = (MAX_BURST < PAGE) ? MAX_BURST : PAGE;
  localparam int OFFSET_W = $clog2(BLOCK);

  logic head_valid, load, busy, take, fits;
  logic [63:0] head_addr;
  logic [31:0] head_len, left;
  logic [8:0] room;  // to the end of the block

  hwmoe_fifo #(
      .W(96),
      .DEPTH(COMMANDS)
  ) i_commands (
      .clk,
      .rst_n,
      .s_valid(c_valid),
      .s_ready(c_ready),
      .s_data ({c_addr, c_len}),
      .m_valid(head_valid),
      .m_ready(load),
      .m_data ({head_addr, head_len})
  );

  assign take = b_valid & b_ready;
  assign load = ~busy | (take & b_last);
  assign room = 9'(BLOCK) - 9'(b_addr[BYTE_W+:OFFSET_W]);
  assign fits = (left[31:9] == '0) & (left[8:0] <= room);

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      busy    <= 1'b0;
      b_valid <= 1'b0;
    end else begin
      if (load) busy <= head_valid;
      b_valid <= b_valid ? ~take : busy;
    end
  end

  always_ff @(posedge clk) begin
    if (load) begin
      b_addr <= head_addr;
      left   <= head_len;
    end else if (take) begin
      b_addr <= b_addr + 64'({b_beats, BYTE_W'(0)});
      left   <= left - 32'(b_beats);
    end
    if (~b_valid) begin
      b_beats <= fits ? left[8:0] : room;
      b_last  <= fits;
    end
  end
endmodule
