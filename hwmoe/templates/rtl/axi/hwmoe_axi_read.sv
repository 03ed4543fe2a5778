// AXI4 read master with a buffer of DEPTH beats: commands (c_addr in bytes, beat-aligned; c_len
// beats, > 0) in, their data out, in order, no marks between commands. A burst is asked for only
// when the buffer has room for all of it, so rready is always high; several are outstanding.
//   halt   level, until reset: no further burst; a pending arvalid stays until it is accepted, and
//          beats that still come are taken and thrown away
//   quiet  no burst is outstanding
//   fault  pulse: a beat came with an error response
module hwmoe_axi_read #(
    parameter int PORT_BITS = 128,
    parameter int DEPTH = 512,
    parameter int MAX_BURST = 64
) (
    input  logic                 clk,
    input  logic                 rst_n,
    input  logic                 halt,
    output logic                 quiet,
    output logic                 fault,
    input  logic                 c_valid,
    output logic                 c_ready,
    input  logic [         63:0] c_addr,
    input  logic [         31:0] c_len,
    output logic                 s_valid,
    input  logic                 s_ready,
    output logic [PORT_BITS-1:0] s_data,
    output logic [         63:0] araddr,
    output logic [          7:0] arlen,
    output logic [          2:0] arsize,
    output logic [          1:0] arburst,
    output logic [          3:0] arcache,
    output logic [          2:0] arprot,
    output logic                 arvalid,
    input  logic                 arready,
    input  logic [PORT_BITS-1:0] rdata,
    /* verilator lint_off UNUSEDSIGNAL */  // an error has bit 1; the beats are counted
    input  logic [          1:0] rresp,
    input  logic                 rlast,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic                 rvalid,
    output logic                 rready
);
  localparam int CW = $clog2(DEPTH) + 1;
  localparam int BURST = (MAX_BURST < DEPTH) ? MAX_BURST : DEPTH;

  logic b_valid, b_ready, take, freed, arrived;
  logic [63:0] b_addr;
  logic [8:0] b_beats;
  logic [CW-1:0] asked;  // beats of the burst that is being asked for
  logic [CW-1:0] places;  // of the buffer that nobody was promised
  logic [CW-1:0] owed;  // beats that are still to come
  logic in_valid;
  logic [PORT_BITS-1:0] in_data;

  assign arsize  = 3'($clog2(PORT_BITS / 8));
  assign arburst = 2'b01;
  assign arcache = 4'b0011;
  assign arprot  = 3'b000;

  /* verilator lint_off PINCONNECTEMPTY */  // where a command ends does not matter
  hwmoe_axi_plan #(
      .PORT_BITS(PORT_BITS),
      .MAX_BURST(BURST)
  ) i_plan (
      .clk,
      .rst_n,
      .c_valid,
      .c_ready,
      .c_addr,
      .c_len,
      .b_valid,
      .b_ready,
      .b_addr,
      .b_beats,
      .b_last ()
  );
  /* verilator lint_on PINCONNECTEMPTY */

  assign b_ready = ~arvalid & ~halt & (places >= CW'(b_beats));
  assign take    = b_valid & b_ready;
  assign asked   = take ? CW'(b_beats) : '0;
  assign arrived = rvalid & rready;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      arvalid  <= 1'b0;
      rready   <= 1'b0;
      places   <= CW'(DEPTH);
      owed     <= '0;
      in_valid <= 1'b0;
      fault    <= 1'b0;
      quiet    <= 1'b1;
    end else begin
      arvalid  <= take | (arvalid & ~arready);
      rready   <= 1'b1;
      places   <= places - asked + CW'(freed);
      owed     <= owed + asked - CW'(arrived);
      in_valid <= arrived & ~halt;
      fault    <= arrived & rresp[1];
      quiet    <= (owed == '0) & ~take;
    end
  end

  always_ff @(posedge clk) begin
    if (take) begin
      araddr <= b_addr;
      arlen  <= 8'(b_beats - 9'd1);
    end
    in_data <= rdata;
  end

  hwmoe_axi_buffer #(
      .W(PORT_BITS),
      .DEPTH(DEPTH)
  ) i_buffer (
      .clk,
      .rst_n,
      .s_valid(in_valid),
      .s_data (in_data),
      .freed,
      .m_valid(s_valid),
      .m_ready(s_ready),
      .m_data (s_data)
  );
endmodule
