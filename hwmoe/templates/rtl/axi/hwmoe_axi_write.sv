// AXI4 write master: commands (c_addr in bytes, beat-aligned; c_len beats, > 0) and their data, in
// order, no marks between commands. Up to OUTSTANDING bursts are not yet answered; a burst may be
// begun before its data are there.
//   done   pulse: all of the oldest command is written and answered
//   halt   level, until reset: no further burst, no more data are taken; bursts under way are
//          finished with wstrb = 0
//   quiet  no burst is outstanding
//   fault  pulse: an error response
module hwmoe_axi_write #(
    parameter int PORT_BITS = 128,
    parameter int MAX_BURST = 64,
    parameter int OUTSTANDING = 8
) (
    input  logic                   clk,
    input  logic                   rst_n,
    input  logic                   halt,
    output logic                   quiet,
    output logic                   fault,
    output logic                   done,
    input  logic                   c_valid,
    output logic                   c_ready,
    input  logic [           63:0] c_addr,
    input  logic [           31:0] c_len,
    input  logic                   s_valid,
    output logic                   s_ready,
    input  logic [  PORT_BITS-1:0] s_data,
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
    /* verilator lint_off UNUSEDSIGNAL */  // an error has bit 1
    input  logic [            1:0] bresp,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic                   bvalid,
    output logic                   bready
);
  localparam int CW = $clog2(OUTSTANDING + 1);

  logic b_valid, b_ready, b_last, take, answered;
  logic [63:0] b_addr;
  logic [8:0] b_beats;
  logic room;  // for one more burst without its answer
  logic ends;  // the oldest burst is the last of its command
  logic [CW-1:0] owed;  // answers that are still to come
  logic next_valid, load, active, put, final_beat, out_ready;
  logic [8:0] next_beats, left;
  logic strobe;

  assign awsize  = 3'($clog2(PORT_BITS / 8));
  assign awburst = 2'b01;
  assign awcache = 4'b0011;
  assign awprot  = 3'b000;

  // Addresses
  hwmoe_axi_plan #(
      .PORT_BITS(PORT_BITS),
      .MAX_BURST(MAX_BURST)
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
      .b_last
  );

  assign b_ready = ~awvalid & ~halt & room;
  assign take    = b_valid & b_ready;

  always_ff @(posedge clk) begin
    if (!rst_n) awvalid <= 1'b0;
    else awvalid <= take | (awvalid & ~awready);
  end

  always_ff @(posedge clk) begin
    if (take) begin
      awaddr <= b_addr;
      awlen  <= 8'(b_beats - 9'd1);
    end
  end

  // Data: of a burst after its address is on the port. The queue has room if `i_ends` has.
  /* verilator lint_off PINCONNECTEMPTY */
  hwmoe_fifo #(
      .W(9),
      .DEPTH(OUTSTANDING)
  ) i_bursts (
      .clk,
      .rst_n,
      .s_valid(take),
      .s_ready(),
      .s_data (b_beats),
      .m_valid(next_valid),
      .m_ready(load),
      .m_data (next_beats)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  assign final_beat = left == 9'd1;
  assign put        = active & out_ready & (s_valid | halt);
  assign load       = ~active | (put & final_beat);
  assign s_ready    = active & out_ready & ~halt;

  always_ff @(posedge clk) begin
    if (!rst_n) active <= 1'b0;
    else if (load) active <= next_valid;
  end

  always_ff @(posedge clk) begin
    if (load) left <= next_beats;
    else if (put) left <= left - 1'b1;
  end

  hwmoe_skid #(
      .W(PORT_BITS + 2)
  ) i_out (
      .clk,
      .rst_n,
      .s_valid(put),
      .s_ready(out_ready),
      .s_data ({~halt, final_beat, s_data}),
      .m_valid(wvalid),
      .m_ready(wready),
      .m_data ({strobe, wlast, wdata})
  );

  assign wstrb = {(PORT_BITS / 8) {strobe}};

  // Answers
  /* verilator lint_off PINCONNECTEMPTY */  // there is an entry for every answer
  hwmoe_fifo #(
      .W(1),
      .DEPTH(OUTSTANDING)
  ) i_ends (
      .clk,
      .rst_n,
      .s_valid(take),
      .s_ready(room),
      .s_data (b_last),
      .m_valid(),
      .m_ready(answered),
      .m_data (ends)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  assign answered = bvalid & bready;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      bready <= 1'b0;
      owed   <= '0;
      done   <= 1'b0;
      fault  <= 1'b0;
      quiet  <= 1'b1;
    end else begin
      bready <= 1'b1;
      owed   <= owed + CW'(take) - CW'(answered);
      done   <= answered & ends;
      fault  <= answered & bresp[1];
      quiet  <= (owed == '0) & ~take;
    end
  end
endmodule
