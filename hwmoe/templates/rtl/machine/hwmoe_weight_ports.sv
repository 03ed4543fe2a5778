// The N read-only ports of the weights as one channel for each of CLIENTS, with a buffer of its own.
// A command (first beat, beats) goes to every port p, whose beats lie at base p; a beat of s_data is
// a beat of each port, port 0 lowest. Bursts of the clients take turns.
module hwmoe_weight_ports #(
    parameter int PORT_BITS = 128,
    parameter int N = 1,
    parameter int CLIENTS = 1,
    parameter int DEPTH = 512
) (
    input  logic                   clk,
    input  logic                   rst_n,
    input  logic                   halt,
    output logic                   quiet,
    output logic [          N-1:0] fault,
    input  logic [       64*N-1:0] base,
    input  logic [    CLIENTS-1:0] c_valid,
    output logic [    CLIENTS-1:0] c_ready,
    input  logic [ 32*CLIENTS-1:0] c_addr,
    input  logic [ 32*CLIENTS-1:0] c_len,
    output logic [    CLIENTS-1:0] s_valid,
    input  logic [    CLIENTS-1:0] s_ready,
    output logic [PORT_BITS*N*CLIENTS-1:0] s_data,
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

  // port p of client c in bit or slice N*c + p
  logic [N*CLIENTS-1:0] still, takes, here;

  assign quiet = &still;

  generate
    for (genvar c = 0; c < CLIENTS; c++) begin : g_client
      // a reader's c_ready does not depend on its c_valid
      assign c_ready[c] = &takes[N*c+:N];
      assign s_valid[c] = &here[N*c+:N];
    end

    for (genvar p = 0; p < N; p++) begin : g_port
      logic [64*CLIENTS-1:0] ch_araddr;
      logic [8*CLIENTS-1:0] ch_arlen;
      logic [CLIENTS-1:0] ch_arvalid, ch_arready, ch_rvalid, ch_rready, ch_bad;
      logic [PORT_BITS-1:0] ch_rdata;
      logic [1:0] ch_rresp;
      logic ch_rlast;

      for (genvar c = 0; c < CLIENTS; c++) begin : g_channel
        /* verilator lint_off PINCONNECTEMPTY */  // the same for all bursts
        hwmoe_axi_read #(
            .PORT_BITS(PORT_BITS),
            .DEPTH(DEPTH)
        ) i_read (
            .clk,
            .rst_n,
            .halt,
            .quiet(still[N*c+p]),
            .fault(ch_bad[c]),
            .c_valid(c_valid[c] & c_ready[c]),
            .c_ready(takes[N*c+p]),
            .c_addr(base[64*p+:64] + (64'(c_addr[32*c+:32]) << SIZE)),
            .c_len(c_len[32*c+:32]),
            .s_valid(here[N*c+p]),
            .s_ready(s_valid[c] & s_ready[c]),
            .s_data(s_data[PORT_BITS*(N*c+p)+:PORT_BITS]),
            .araddr(ch_araddr[64*c+:64]),
            .arlen(ch_arlen[8*c+:8]),
            .arsize(),
            .arburst(),
            .arcache(),
            .arprot(),
            .arvalid(ch_arvalid[c]),
            .arready(ch_arready[c]),
            .rdata(ch_rdata),
            .rresp(ch_rresp),
            .rlast(ch_rlast),
            .rvalid(ch_rvalid[c]),
            .rready(ch_rready[c])
        );
        /* verilator lint_on PINCONNECTEMPTY */
      end

      assign fault[p] = ch_bad != '0;

      if (CLIENTS == 1) begin : g_direct
        assign araddr[64*p+:64] = ch_araddr;
        assign arlen[8*p+:8] = ch_arlen;
        assign arsize[3*p+:3] = 3'(SIZE);
        assign arburst[2*p+:2] = 2'b01;
        assign arcache[4*p+:4] = 4'b0011;
        assign arprot[3*p+:3] = 3'b000;
        assign arvalid[p] = ch_arvalid[0];
        assign ch_arready[0] = arready[p];
        assign ch_rdata = rdata[PORT_BITS*p+:PORT_BITS];
        assign ch_rresp = rresp[2*p+:2];
        assign ch_rlast = rlast[p];
        assign ch_rvalid[0] = rvalid[p];
        assign rready[p] = ch_rready[0];
      end else begin : g_turns
        hwmoe_axi_read_mux #(
            .PORT_BITS(PORT_BITS),
            .N(CLIENTS)
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
            .m_araddr(araddr[64*p+:64]),
            .m_arlen(arlen[8*p+:8]),
            .m_arsize(arsize[3*p+:3]),
            .m_arburst(arburst[2*p+:2]),
            .m_arcache(arcache[4*p+:4]),
            .m_arprot(arprot[3*p+:3]),
            .m_arvalid(arvalid[p]),
            .m_arready(arready[p]),
            .m_rdata(rdata[PORT_BITS*p+:PORT_BITS]),
            .m_rresp(rresp[2*p+:2]),
            .m_rlast(rlast[p]),
            .m_rvalid(rvalid[p]),
            .m_rready(rready[p])
        );
      end
    end
  endgenerate
endmodule
