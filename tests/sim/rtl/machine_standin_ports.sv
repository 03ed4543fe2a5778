// AXI4 masters of the stand-in (machine_standin.sv), which break rules when asked to.

// Reads `beats` beats in bursts of up to 16 as fast as it may; sum: a checksum that order changes.
// Faults: 1 burst of 17 beats from 16 before a 4 KiB boundary, 2 half the size, 3 FIXED burst,
// 4 araddr changes while it waits, 5 arvalid drops while it waits.
module standin_reader #(
    parameter int PORT_BITS = 128
) (
    input  logic        clk,
    input  logic        rst_n,
    input  logic        start,
    input  logic [63:0] base,
    input  logic [31:0] beats,
    input  logic [ 7:0] fault,
    output logic        done,
    output logic        error,
    output logic [31:0] sum,
    output logic [63:0] araddr,
    output logic [ 7:0] arlen,
    output logic [ 2:0] arsize,
    output logic [ 1:0] arburst,
    output logic        arvalid,
    input  logic        arready,
    input  logic [PORT_BITS-1:0] rdata,
    input  logic [ 1:0] rresp,
    input  logic        rlast,
    input  logic        rvalid,
    output logic        rready
);
  localparam int BYTES = PORT_BITS / 8;
  logic [31:0] asked, got, left;
  logic [3:0] place;  // beat of the burst
  logic running;
  assign done = running && got == beats;
  assign rready = 1'b1;
  assign left = beats - asked;
  assign arlen = fault == 8'd1 ? 8'd255 : left < 32'd16 ? 8'(left - 32'd1) : 8'd15;
  assign arsize = fault == 8'd2 ? 3'($clog2(BYTES) - 1) : 3'($clog2(BYTES));
  assign arburst = fault == 8'd3 ? 2'b00 : 2'b01;
  logic waited;
  assign arvalid = running && asked < beats && !(fault == 8'd5 && waited);
  assign araddr = base + 64'(asked) * 64'(BYTES) + (fault == 8'd1 ? 64'(BYTES) : 64'd0)
                + (fault == 8'd4 && waited ? 64'd4096 : 64'd0);
  logic [31:0] fold;
  always_comb begin
    fold = 32'd0;
    for (int i = 0; i < PORT_BITS / 32; i++) fold = {fold[30:0], fold[31]} ^ rdata[32*i+:32];
  end
  always_ff @(posedge clk) begin
    waited <= arvalid && !arready;
    if (!rst_n) begin
      running <= 1'b0;
      waited <= 1'b0;
      error <= 1'b0;
      sum <= 32'd0;
      asked <= 32'd0;
      got <= 32'd0;
      place <= 4'd0;
    end else if (start) begin
      running <= 1'b1;
      error <= 1'b0;
      sum <= 32'd0;
      asked <= 32'd0;
      got <= 32'd0;
      place <= 4'd0;
    end else begin
      if (arvalid && arready) asked <= asked + 32'(arlen) + 32'd1;
      if (rvalid) begin
        got   <= got + 32'd1;
        sum   <= {sum[30:0], sum[31]} ^ fold;
        place <= rlast ? 4'd0 : place + 4'd1;
        if (rresp != 2'b00 || rlast != (place == 4'd15 || got + 32'd1 == beats)) error <= 1'b1;
      end
    end
  end
endmodule

// Writes `beats` beats in bursts of up to 16: 32-bit word i of beat b is b + (i << 24), but byte 5
// of every odd beat is left as it is. Faults: 6 wlast a beat early, 7 no wlast, 8 wdata changes
// while it waits, 9 wvalid drops while it waits, 13 a burst of awsize 0.
module standin_writer #(
    parameter int PORT_BITS = 128
) (
    input  logic        clk,
    input  logic        rst_n,
    input  logic        start,
    input  logic [63:0] base,
    input  logic [31:0] beats,
    input  logic [ 7:0] fault,
    output logic        done,
    output logic        error,
    output logic [63:0] awaddr,
    output logic [ 7:0] awlen,
    output logic [ 2:0] awsize,
    output logic [ 1:0] awburst,
    output logic        awvalid,
    input  logic        awready,
    output logic [PORT_BITS-1:0] wdata,
    output logic [PORT_BITS/8-1:0] wstrb,
    output logic        wlast,
    output logic        wvalid,
    input  logic        wready,
    input  logic [ 1:0] bresp,
    input  logic        bvalid,
    output logic        bready
);
  localparam int BYTES = PORT_BITS / 8;
  logic [31:0] asked, sent, answers, wanted, left;
  logic running, waited, odd;
  assign left = beats - asked;
  assign wanted = (beats + 32'd15) >> 4;
  assign done = running && answers == wanted;
  assign bready = 1'b1;
  assign awvalid = running && asked < beats;
  assign awaddr = base + 64'(asked) * 64'(BYTES);
  assign awlen = left < 32'd16 ? 8'(left - 32'd1) : 8'd15;
  assign awsize = fault == 8'd13 ? 3'd0 : 3'($clog2(BYTES));
  assign awburst = 2'b01;
  assign wvalid = running && sent < beats && !(fault == 8'd9 && waited);
  assign odd = sent[0];
  assign wstrb = odd ? ~(PORT_BITS / 8)'(32) : {(PORT_BITS / 8) {1'b1}};
  always_comb begin
    for (int i = 0; i < PORT_BITS / 32; i++)
    wdata[32*i+:32] = sent + (32'(i) << 24) + 32'(fault == 8'd8 && waited);
  end
  always_comb begin
    wlast = sent[3:0] == 4'd15 || sent + 32'd1 == beats;
    if (fault == 8'd6) wlast = sent[3:0] == 4'd14;
    if (fault == 8'd7) wlast = 1'b0;
  end
  always_ff @(posedge clk) begin
    waited <= wvalid && !wready;
    if (!rst_n) begin
      running <= 1'b0;
      waited <= 1'b0;
      error <= 1'b0;
      asked <= 32'd0;
      sent <= 32'd0;
      answers <= 32'd0;
    end else if (start) begin
      running <= 1'b1;
      error <= 1'b0;
      asked <= 32'd0;
      sent <= 32'd0;
      answers <= 32'd0;
    end else begin
      if (awvalid && awready) asked <= asked + 32'(awlen) + 32'd1;
      if (wvalid && wready) sent <= sent + 32'd1;
      if (bvalid) begin
        answers <= answers + 32'd1;
        if (bresp != 2'b00) error <= 1'b1;
      end
      if (done) running <= 1'b0;
    end
  end
endmodule
