// N read masters on one AXI4 port: a burst each in turn, one in two cycles at most; beats go back
// in the order of the bursts. Not more than OUTSTANDING bursts at a time.
//   s_*   channel i: bit i, slice i; s_rdata, s_rresp and s_rlast are common to all
//   m_*   the port
module hwmoe_axi_read_mux #(
    parameter int PORT_BITS = 128,
    parameter int N = 4,
    parameter int OUTSTANDING = 32
) (
    input  logic                 clk,
    input  logic                 rst_n,
    input  logic [     64*N-1:0] s_araddr,
    input  logic [      8*N-1:0] s_arlen,
    input  logic [        N-1:0] s_arvalid,
    output logic [        N-1:0] s_arready,
    output logic [PORT_BITS-1:0] s_rdata,
    output logic [          1:0] s_rresp,
    output logic                 s_rlast,
    output logic [        N-1:0] s_rvalid,
    input  logic [        N-1:0] s_rready,
    output logic [         63:0] m_araddr,
    output logic [          7:0] m_arlen,
    output logic [          2:0] m_arsize,
    output logic [          1:0] m_arburst,
    output logic [          3:0] m_arcache,
    output logic [          2:0] m_arprot,
    output logic                 m_arvalid,
    input  logic                 m_arready,
    input  logic [PORT_BITS-1:0] m_rdata,
    input  logic [          1:0] m_rresp,
    input  logic                 m_rlast,
    input  logic                 m_rvalid,
    output logic                 m_rready
);
  logic room, take, known;
  logic [N-1:0] target;  // of the beats that come now
  logic [63:0] addr;
  logic [7:0] len;

  assign m_arsize  = 3'($clog2(PORT_BITS / 8));
  assign m_arburst = 2'b01;
  assign m_arcache = 4'b0011;
  assign m_arprot  = 3'b000;

  // Address channel
  assign take = s_arready != '0;

  hwmoe_round_robin #(
      .N(N)
  ) i_turn (
      .clk,
      .rst_n,
      .request(s_arvalid & {N{room & ~m_arvalid}}),
      .grant  (s_arready)
  );

  always_comb begin
    addr = '0;
    len  = '0;
    for (int i = 0; i < N; i++) begin
      if (s_arready[i]) begin
        addr |= s_araddr[64*i+:64];
        len |= s_arlen[8*i+:8];
      end
    end
  end

  always_ff @(posedge clk) begin
    if (!rst_n) m_arvalid <= 1'b0;
    else m_arvalid <= take | (m_arvalid & ~m_arready);
  end

  always_ff @(posedge clk) begin
    if (take) begin
      m_araddr <= addr;
      m_arlen  <= len;
    end
  end

  // Data channel
  hwmoe_fifo #(
      .W(N),
      .DEPTH(OUTSTANDING)
  ) i_order (
      .clk,
      .rst_n,
      .s_valid(take),
      .s_ready(room),
      .s_data (s_arready),
      .m_valid(known),
      .m_ready(m_rvalid & m_rready & m_rlast),
      .m_data (target)
  );

  assign s_rdata  = m_rdata;
  assign s_rresp  = m_rresp;
  assign s_rlast  = m_rlast;
  assign s_rvalid = target & {N{known & m_rvalid}};
  assign m_rready = known & ((target & s_rready) != '0);
endmodule
