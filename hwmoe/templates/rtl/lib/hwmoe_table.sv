// Loadable table of 256 bytes: entry `index` appears one cycle later. Not to be written and read
// at the same time.
module hwmoe_table (
    input  logic       clk,
    input  logic       we,
    input  logic [7:0] waddr,
    input  logic [7:0] wdata,
    input  logic [7:0] index,
    output logic [7:0] entry
);
  hwmoe_ram_sdp #(
      .W(8),
      .DEPTH(256),
      .BLOCK(0)
  ) i_ram (
      .clk,
      .we,
      .waddr,
      .wdata,
      .re(1'b1),
      .raddr(index),
      .rdata(entry)
  );
endmodule
