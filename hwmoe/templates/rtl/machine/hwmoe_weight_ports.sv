// The N read-only ports of the weights as one channel. A command (first beat, beats) goes to every
// port p, whose beats lie at base p; a beat of s_data is a beat of each port, port 0 lowest.
module hwmoe_weight_ports #(
    parameter int PORT_BITS = 128,
    parameter int N = 1,
    parameter int DEPTH = 512
) (
    input  logic                   clk,
    input  logic                   rst_n,
    input  logic                   halt,
    output logic                   quiet,
    output logic [          N-1:0] fault,
    input  logic [       64*N-1:0] base,
    input  logic                   c_valid,
    output logic                   c_ready,
    input  logic [           31:0] c_addr,
    input  logic [           31:0] c_len,
    output logic                   s_valid,
    input  logic                   s_ready,
    output logic [PORT_BITS*N-1:0] s_data,
    output logic [       64*N-1:0] araddr,
    output logic [        8*N-1:0] arlen,
    output logic [        3*N-1:0] arsize,
    output logic [        2*N-1:0] arburst,
    output logic [        4*N-1:0] arcache,
    output logic [        3*N-1:0] arprot,
    output logic [          N-1:0] arvalid,
    input  logic [          N-1:0] arready,
    input  logic [PORT_BITS*N-1:0] rdata,
    input  logic [        2*N-1:0] rresp,
    input  logic [          N-1:0] rlast,
    input  logic [          N-1:0] rvalid,
    output logic [          N-1:0] rready
);
  localparam int SIZE = $clog2(PORT_BITS / 8);

  logic [N-1:0] still, takes, here;
  logic [63:0] offset;

  assign quiet   = &still;
  assign offset  = 64'(c_addr) << SIZE;
  assign c_ready = &takes;  // a reader's c_ready does not depend on its c_valid
  assign s_valid = &here;

  generate
    for (genvar p = 0; p < N; p++) begin : g_port
      hwmoe_axi_read #(
          .PORT_BITS(PORT_BITS),
          .DEPTH(DEPTH)
      ) i_read (
          .clk,
          .rst_n,
          .halt,
          .quiet(still[p]),
          .fault(fault[p]),
          .c_valid(c_valid & c_ready),
          .c_ready(takes[p]),
          .c_addr(base[64*p+:64] + offset),
          .c_len,
          .s_valid(here[p]),
          .s_ready(s_valid & s_ready),
          .s_data(s_data[PORT_BITS*p+:PORT_BITS]),
          .araddr(araddr[64*p+:64]),
          .arlen(arlen[8*p+:8]),
          .arsize(arsize[3*p+:3]),
          .arburst(arburst[2*p+:2]),
          .arcache(arcache[4*p+:4]),
          .arprot(arprot[3*p+:3]),
          .arvalid(arvalid[p]),
          .arready(arready[p]),
          .rdata(rdata[PORT_BITS*p+:PORT_BITS]),
          .rresp(rresp[2*p+:2]),
          .rlast(rlast[p]),
          .rvalid(rvalid[p]),
          .rready(rready[p])
      );
    end
  endgenerate
endmodule
