// Simple dual-port RAM, one clock: a write port and a read port with enable, one cycle latency.
// Reading the address that is written in the same cycle is not defined: the caller avoids it.
// BLOCK = 1: block RAM; 0: distributed RAM.
module hwmoe_ram_sdp #(
    parameter int W = 8,
    parameter int DEPTH = 512,
    parameter int BLOCK = 1,
    parameter int AW = (DEPTH > 1) ? $clog2(DEPTH) : 1
) (
    input  logic          clk,
    input  logic          we,
    input  logic [AW-1:0] waddr,
    input  logic [ W-1:0] wdata,
    input  logic          re,
    input  logic [AW-1:0] raddr,
    output logic [ W-1:0] rdata
);
  generate
    if (BLOCK != 0) begin : g_block
      (* ram_style = "block" *) logic [W-1:0] mem[0:DEPTH-1];
      always_ff @(posedge clk) begin
        if (we) mem[waddr] <= wdata;
      end
      always_ff @(posedge clk) begin
        if (re) rdata <= mem[raddr];
      end
    end else begin : g_distributed
      (* ram_style = "distributed" *) logic [W-1:0] mem[0:DEPTH-1];
      always_ff @(posedge clk) begin
        if (we) mem[waddr] <= wdata;
      end
      always_ff @(posedge clk) begin
        if (re) rdata <= mem[raddr];
      end
    end
  endgenerate
endmodule
