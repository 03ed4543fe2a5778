// The port m_axi_gmem: N read channels in turn and one write channel, each with DMA commands c_*
// and data s_* (d_* and o_* for the write channel). fault: one bit a read channel, then the writes.
module hwmoe_gmem #(
    parameter int PORT_BITS = 128,
    parameter int N = 4,
    parameter int DEPTH = 512
) (
    input  logic                   clk,
    input  logic                   rst_n,
    input  logic                   halt,
    output logic                   quiet,
    output logic [            N:0] fault,
    input  logic [          N-1:0] c_valid,
    output logic [          N-1:0] c_ready,
    input  logic [       64*N-1:0] c_addr,
    input  logic [       32*N-1:0] c_len,
    output logic [          N-1:0] s_valid,
    input  logic [          N-1:0] s_ready,
    output logic [PORT_BITS*N-1:0] s_data,
    input  logic                   d_valid,
    output logic                   d_ready,
    input  logic [           63:0] d_addr,
    input  logic [           31:0] d_len,
    input  logic                   o_valid,
    output logic                   o_ready,
    input  logic [  PORT_BITS-1:0] o_data,
    output logic                   written,
    output logic [           63:0] awaddr,
    output logic [            7:0] awlen,
    output logic [            2:0] awsize,
    output logic [            1:0] awburst,
    output logic [            3:0] awcache,
    output logic [            2:0] awprot,
    output logic                   awvalid,
    input  logic                   awready,
    output logic [  PORT_BITS-1:0] wdata,
    output logic [PORT_BITS/8-1:0] wstrb,
    output logic                   wlast,
    output logic                   wvalid,
    input  logic                   wready,
    input  logic [            1:0] bresp,
    input  logic                   bvalid,
    output logic                   bready,
    output logic [           63:0] araddr,
    output logic [            7:0] arlen,
    output logic [            2:0] arsize,
    output logic [            1:0] arburst,
    output logic [            3:0] arcache,
    output logic [            2:0] arprot,
    output logic                   arvalid,
    input  logic                   arready,
    input  logic [  PORT_BITS-1:0] rdata,
    input  logic [            1:0] rresp,
    input  logic                   rlast,
    input  logic                   rvalid,
    output logic                   rready
);
  logic [N:0] still;  // nothing outstanding
  logic [64*N-1:0] ch_araddr;
  logic [8*N-1:0] ch_arlen;
  logic [N-1:0] ch_arvalid, ch_arready, ch_rvalid, ch_rready;
  logic [PORT_BITS-1:0] ch_rdata;
  logic [1:0] ch_rresp;
  logic ch_rlast;

  assign quiet = &still;

  generate
    for (genvar i = 0; i < N; i++) begin : g_channel
      /* verilator lint_off PINCONNECTEMPTY */  // the same for all channels: the mux has them
      hwmoe_axi_read #(
          .PORT_BITS(PORT_BITS),
          .DEPTH(DEPTH)
      ) i_read (
          .clk,
          .rst_n,
          .halt,
          .quiet(still[i]),
          .fault(fault[i]),
          .c_valid(c_valid[i]),
          .c_ready(c_ready[i]),
          .c_addr(c_addr[64*i+:64]),
          .c_len(c_len[32*i+:32]),
          .s_valid(s_valid[i]),
          .s_ready(s_ready[i]),
          .s_data(s_data[PORT_BITS*i+:PORT_BITS]),
          .araddr(ch_araddr[64*i+:64]),
          .arlen(ch_arlen[8*i+:8]),
          .arsize(),
          .arburst(),
          .arcache(),
          .arprot(),
          .arvalid(ch_arvalid[i]),
          .arready(ch_arready[i]),
          .rdata(ch_rdata),
          .rresp(ch_rresp),
          .rlast(ch_rlast),
          .rvalid(ch_rvalid[i]),
          .rready(ch_rready[i])
      );
      /* verilator lint_on PINCONNECTEMPTY */
    end
  endgenerate

  hwmoe_axi_read_mux #(
      .PORT_BITS(PORT_BITS),
      .N(N)
  ) i_mux (
      .clk,
      .rst_n,
      .s_araddr(ch_araddr),
      .s_arlen(ch_arlen),
      .s_arvalid(ch_arvalid),
      .s_arready(ch_arready),
      .s_rdata(ch_rdata),
      .s_rresp(ch_rresp),
      .s_rlast(ch_rlast),
      .s_rvalid(ch_rvalid),
      .s_rready(ch_rready),
      .m_araddr(araddr),
      .m_arlen(arlen),
      .m_arsize(arsize),
      .m_arburst(arburst),
      .m_arcache(arcache),
      .m_arprot(arprot),
      .m_arvalid(arvalid),
      .m_arready(arready),
      .m_rdata(rdata),
      .m_rresp(rresp),
      .m_rlast(rlast),
      .m_rvalid(rvalid),
      .m_rready(rready)
  );

  hwmoe_axi_write #(
      .PORT_BITS(PORT_BITS)
  ) i_write (
      .clk,
      .rst_n,
      .halt,
      .quiet(still[N]),
      .fault(fault[N]),
      .done(written),
      .c_valid(d_valid),
      .c_ready(d_ready),
      .c_addr(d_addr),
      .c_len(d_len),
      .s_valid(o_valid),
      .s_ready(o_ready),
      .s_data(o_data),
      .awaddr,
      .awlen,
      .awsize,
      .awburst,
      .awcache,
      .awprot,
      .awvalid,
      .awready,
      .wdata,
      .wstrb,
      .wlast,
      .wvalid,
      .wready,
      .bresp,
      .bvalid,
      .bready
  );
endmodule
