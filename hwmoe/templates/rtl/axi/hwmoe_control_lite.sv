// AXI4-Lite slave, 16-bit addresses, one write and one read at a time.
//   wr   pulse: word wr_addr is written in the bytes of wr_strb
//   rd   pulse: word rd_addr is wanted; `got` with `got_data` ends the read, in the same cycle at
//        the earliest
module hwmoe_control_lite (
    input  logic        clk,
    input  logic        rst_n,
    /* verilator lint_off UNUSEDSIGNAL */  // words only
    input  logic [15:0] awaddr,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic        awvalid,
    output logic        awready,
    input  logic [31:0] wdata,
    input  logic [ 3:0] wstrb,
    input  logic        wvalid,
    output logic        wready,
    output logic [ 1:0] bresp,
    output logic        bvalid,
    input  logic        bready,
    /* verilator lint_off UNUSEDSIGNAL */
    input  logic [15:0] araddr,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic        arvalid,
    output logic        arready,
    output logic [31:0] rdata,
    output logic [ 1:0] rresp,
    output logic        rvalid,
    input  logic        rready,
    output logic        wr,
    output logic [13:0] wr_addr,
    output logic [31:0] wr_data,
    output logic [ 3:0] wr_strb,
    output logic        rd,
    output logic [13:0] rd_addr,
    input  logic        got,
    input  logic [31:0] got_data
);
  logic have_addr, have_data, reading;

  assign awready = ~have_addr;
  assign wready  = ~have_data;
  assign arready = ~reading;
  assign bresp   = 2'b00;
  assign rresp   = 2'b00;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      have_addr <= 1'b0;
      have_data <= 1'b0;
      wr        <= 1'b0;
      bvalid    <= 1'b0;
      reading   <= 1'b0;
      rd        <= 1'b0;
      rvalid    <= 1'b0;
    end else begin
      have_addr <= have_addr ? ~(bvalid & bready) : awvalid;
      have_data <= have_data ? ~(bvalid & bready) : wvalid;
      wr        <= have_addr & have_data & ~wr & ~bvalid;
      bvalid    <= wr | (bvalid & ~bready);
      reading   <= reading ? ~(rvalid & rready) : arvalid;
      rd        <= arvalid & ~reading;
      rvalid    <= got | (rvalid & ~rready);
    end
  end

  always_ff @(posedge clk) begin
    if (awready) wr_addr <= awaddr[15:2];
    if (wready) begin
      wr_data <= wdata;
      wr_strb <= wstrb;
    end
    if (arready) rd_addr <= araddr[15:2];
    if (got) rdata <= got_data;
  end
endmodule
