// One bank of an activation memory: a write port and a read port, block RAM with its output
// register: data come two cycles after `re`. A read in the cycle of a write to the same address is
// not defined.
module hwmoe_ram_bank #(
    parameter int W = 64,
    parameter int DEPTH = 512,
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
  (* ram_style = "block" *) logic [W-1:0] mem[0:DEPTH-1];
  logic [W-1:0] raw;

  always_ff @(posedge clk) begin
    if (we) mem[waddr] <= wdata;
  end

  always_ff @(posedge clk) begin
    if (re) raw <= mem[raddr];
    rdata <= raw;
  end
endmodule
