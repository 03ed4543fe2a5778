// hwmoe_top with two weight ports of 64 bits, for AXI models that want the signals of an ID, and what
// those models do not check by themselves.
//   fault   number of the planted fault that is active
//   breach  sticky. 0 .. 6: a channel took back or changed what it offered (ar and aw of gmem, ar of
//           w0, ar of w1, w of gmem, b and r of control). 7 .. 10: the first four of these asked
//           for something else than whole beats of an INCR burst
//   open    bursts that are not yet answered in full
module top_cocotb (
    input  logic        ap_clk,
    input  logic        ap_rst_n,
    /* verilator lint_off UNUSEDSIGNAL */
    input  logic [ 7:0] fault,
    input  logic        m_axi_gmem_bid,
    input  logic        m_axi_gmem_rid,
    input  logic        m_axi_w0_rid,
    input  logic        m_axi_w1_rid,
    /* verilator lint_on UNUSEDSIGNAL */
    output logic [10:0] breach,
    output logic [ 7:0] open,
    output logic        interrupt,
    input  logic [15:0] s_axi_control_awaddr,
    input  logic        s_axi_control_awvalid,
    output logic        s_axi_control_awready,
    input  logic [31:0] s_axi_control_wdata,
    input  logic [ 3:0] s_axi_control_wstrb,
    input  logic        s_axi_control_wvalid,
    output logic        s_axi_control_wready,
    output logic [ 1:0] s_axi_control_bresp,
    output logic        s_axi_control_bvalid,
    input  logic        s_axi_control_bready,
    input  logic [15:0] s_axi_control_araddr,
    input  logic        s_axi_control_arvalid,
    output logic        s_axi_control_arready,
    output logic [31:0] s_axi_control_rdata,
    output logic [ 1:0] s_axi_control_rresp,
    output logic        s_axi_control_rvalid,
    input  logic        s_axi_control_rready,
    output logic        m_axi_gmem_awid,
    output logic [63:0] m_axi_gmem_awaddr,
    output logic [ 7:0] m_axi_gmem_awlen,
    output logic [ 2:0] m_axi_gmem_awsize,
    output logic [ 1:0] m_axi_gmem_awburst,
    output logic [ 3:0] m_axi_gmem_awcache,
    output logic [ 2:0] m_axi_gmem_awprot,
    output logic        m_axi_gmem_awvalid,
    input  logic        m_axi_gmem_awready,
    output logic [63:0] m_axi_gmem_wdata,
    output logic [ 7:0] m_axi_gmem_wstrb,
    output logic        m_axi_gmem_wlast,
    output logic        m_axi_gmem_wvalid,
    input  logic        m_axi_gmem_wready,
    input  logic [ 1:0] m_axi_gmem_bresp,
    input  logic        m_axi_gmem_bvalid,
    output logic        m_axi_gmem_bready,
    output logic        m_axi_gmem_arid,
    output logic [63:0] m_axi_gmem_araddr,
    output logic [ 7:0] m_axi_gmem_arlen,
    output logic [ 2:0] m_axi_gmem_arsize,
    output logic [ 1:0] m_axi_gmem_arburst,
    output logic [ 3:0] m_axi_gmem_arcache,
    output logic [ 2:0] m_axi_gmem_arprot,
    output logic        m_axi_gmem_arvalid,
    input  logic        m_axi_gmem_arready,
    input  logic [63:0] m_axi_gmem_rdata,
    input  logic [ 1:0] m_axi_gmem_rresp,
    input  logic        m_axi_gmem_rlast,
    input  logic        m_axi_gmem_rvalid,
    output logic        m_axi_gmem_rready,
    output logic        m_axi_w0_arid,
    output logic [63:0] m_axi_w0_araddr,
    output logic [ 7:0] m_axi_w0_arlen,
    output logic [ 2:0] m_axi_w0_arsize,
    output logic [ 1:0] m_axi_w0_arburst,
    output logic [ 3:0] m_axi_w0_arcache,
    output logic [ 2:0] m_axi_w0_arprot,
    output logic        m_axi_w0_arvalid,
    input  logic        m_axi_w0_arready,
    input  logic [63:0] m_axi_w0_rdata,
    input  logic [ 1:0] m_axi_w0_rresp,
    input  logic        m_axi_w0_rlast,
    input  logic        m_axi_w0_rvalid,
    output logic        m_axi_w0_rready,
    output logic        m_axi_w1_arid,
    output logic [63:0] m_axi_w1_araddr,
    output logic [ 7:0] m_axi_w1_arlen,
    output logic [ 2:0] m_axi_w1_arsize,
    output logic [ 1:0] m_axi_w1_arburst,
    output logic [ 3:0] m_axi_w1_arcache,
    output logic [ 2:0] m_axi_w1_arprot,
    output logic        m_axi_w1_arvalid,
    input  logic        m_axi_w1_arready,
    input  logic [63:0] m_axi_w1_rdata,
    input  logic [ 1:0] m_axi_w1_rresp,
    input  logic        m_axi_w1_rlast,
    input  logic        m_axi_w1_rvalid,
    output logic        m_axi_w1_rready
);
  localparam int HELD = 84;  // the widest payload, of an address

  logic [HELD-1:0] gmem_ar, gmem_aw, w0_ar, w1_ar;
  logic [6:0] valid, ready;
  logic [7*HELD-1:0] payload;
  logic [3:0] begins, ends;

  hwmoe_top i_top (.*);

  assign m_axi_gmem_awid = 1'b0;
  assign m_axi_gmem_arid = 1'b0;
  assign m_axi_w0_arid   = 1'b0;
  assign m_axi_w1_arid   = 1'b0;

  assign gmem_ar = {
    m_axi_gmem_araddr,
    m_axi_gmem_arlen,
    m_axi_gmem_arsize,
    m_axi_gmem_arburst,
    m_axi_gmem_arcache,
    m_axi_gmem_arprot
  };
  assign gmem_aw = {
    m_axi_gmem_awaddr,
    m_axi_gmem_awlen,
    m_axi_gmem_awsize,
    m_axi_gmem_awburst,
    m_axi_gmem_awcache,
    m_axi_gmem_awprot
  };
  assign w0_ar = {
    m_axi_w0_araddr,
    m_axi_w0_arlen,
    m_axi_w0_arsize,
    m_axi_w0_arburst,
    m_axi_w0_arcache,
    m_axi_w0_arprot
  };
  assign w1_ar = {
    m_axi_w1_araddr,
    m_axi_w1_arlen,
    m_axi_w1_arsize,
    m_axi_w1_arburst,
    m_axi_w1_arcache,
    m_axi_w1_arprot
  };

  // Address channels first.
  assign valid = {
    s_axi_control_rvalid,
    s_axi_control_bvalid,
    m_axi_gmem_wvalid,
    m_axi_w1_arvalid,
    m_axi_w0_arvalid,
    m_axi_gmem_awvalid,
    m_axi_gmem_arvalid
  };
  assign ready = {
    s_axi_control_rready,
    s_axi_control_bready,
    m_axi_gmem_wready,
    m_axi_w1_arready,
    m_axi_w0_arready,
    m_axi_gmem_awready,
    m_axi_gmem_arready
  };
  assign payload = {
    HELD'({s_axi_control_rdata, s_axi_control_rresp}),
    HELD'(s_axi_control_bresp),
    HELD'({m_axi_gmem_wdata, m_axi_gmem_wstrb, m_axi_gmem_wlast}),
    w1_ar,
    w0_ar,
    gmem_aw,
    gmem_ar
  };

  generate
    for (genvar i = 0; i < 7; i++) begin : g_hold
      logic waits;
      logic [HELD-1:0] offered;

      always_ff @(posedge ap_clk) begin
        if (!ap_rst_n) begin
          waits     <= 1'b0;
          breach[i] <= 1'b0;
        end else begin
          waits <= valid[i] & ~ready[i];
          if (waits & (~valid[i] | (payload[HELD*i+:HELD] != offered))) breach[i] <= 1'b1;
        end
        offered <= payload[HELD*i+:HELD];
      end
    end

    for (genvar i = 0; i < 4; i++) begin : g_address
      // size 8 bytes, INCR, cache 0011, prot 000
      always_ff @(posedge ap_clk) begin
        if (!ap_rst_n) breach[7+i] <= 1'b0;
        else if (valid[i] & (payload[HELD*i+:12] != 12'b011_01_0011_000)) breach[7+i] <= 1'b1;
      end
    end
  endgenerate

  assign begins = valid[3:0] & ready[3:0];
  assign ends = {
    m_axi_w1_rvalid & m_axi_w1_rready & m_axi_w1_rlast,
    m_axi_w0_rvalid & m_axi_w0_rready & m_axi_w0_rlast,
    m_axi_gmem_bvalid & m_axi_gmem_bready,
    m_axi_gmem_rvalid & m_axi_gmem_rready & m_axi_gmem_rlast
  };

  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) open <= '0;
    else open <= open + 8'($countones(begins)) - 8'($countones(ends));
  end
endmodule
