// Activation memory: DEPTH words of LANES lanes, in banks of GRAIN lanes that are written by mask.
// At most one read and one write a cycle, each granted in turn (round robin) in the cycle in which
// it is asked for. Data come on d_data exactly 3 cycles after the grant, marked by d_valid of the
// reader. A read granted 2 cycles after a write sees it.
// An address at or above DEPTH is granted, but nothing is written; `fault` pulses with the address.
module hwmoe_act_ram #(
    parameter int LANE_W = 8,
    parameter int LANES = 16,
    parameter int GRAIN = 8,
    parameter int DEPTH = 512,
    parameter int READERS = 1,
    parameter int WRITERS = 1
) (
    input  logic                             clk,
    input  logic                             rst_n,
    input  logic [              READERS-1:0] r_valid,
    output logic [              READERS-1:0] r_ready,
    input  logic [           16*READERS-1:0] r_addr,
    output logic [              READERS-1:0] d_valid,
    output logic [         LANE_W*LANES-1:0] d_data,
    input  logic [              WRITERS-1:0] w_valid,
    output logic [              WRITERS-1:0] w_ready,
    input  logic [           16*WRITERS-1:0] w_addr,
    input  logic [  WRITERS*LANES/GRAIN-1:0] w_mask,
    input  logic [WRITERS*LANE_W*LANES-1:0]  w_data,
    output logic                             fault,
    output logic [                     15:0] fault_addr
);
  localparam int BANKS = LANES / GRAIN;
  localparam int BANK_W = LANE_W * GRAIN;
  localparam int WORD_W = LANE_W * LANES;
  localparam int AW = (DEPTH > 1) ? $clog2(DEPTH) : 1;
  localparam logic [16:0] END = 17'(DEPTH);

  logic [READERS-1:0] read_1, read_2;
  logic [15:0] raddr, raddr_1;
  logic        write_1;
  logic [15:0] waddr, waddr_1;
  logic [BANKS-1:0] mask, mask_1;
  logic [WORD_W-1:0] wdata, wdata_1;
  logic read_out, write_out;

  hwmoe_round_robin #(
      .N(READERS)
  ) i_readers (
      .clk,
      .rst_n,
      .request(r_valid),
      .grant(r_ready)
  );

  hwmoe_round_robin #(
      .N(WRITERS)
  ) i_writers (
      .clk,
      .rst_n,
      .request(w_valid),
      .grant(w_ready)
  );

  // grants are one-hot: AND and OR choose
  always_comb begin
    raddr = '0;
    for (int r = 0; r < READERS; r++) raddr |= {16{r_ready[r]}} & r_addr[16*r+:16];
  end

  always_comb begin
    waddr = '0;
    mask  = '0;
    wdata = '0;
    for (int w = 0; w < WRITERS; w++) begin
      waddr |= {16{w_ready[w]}} & w_addr[16*w+:16];
      mask |= {BANKS{w_ready[w]}} & w_mask[BANKS*w+:BANKS];
      wdata |= {WORD_W{w_ready[w]}} & w_data[WORD_W*w+:WORD_W];
    end
  end

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      read_1  <= '0;
      read_2  <= '0;
      d_valid <= '0;
      write_1 <= 1'b0;
    end else begin
      read_1  <= r_ready;
      read_2  <= read_1;
      d_valid <= read_2;
      write_1 <= w_ready != '0;
    end
  end

  always_ff @(posedge clk) begin
    raddr_1 <= raddr;
    waddr_1 <= waddr;
    mask_1  <= mask;
    wdata_1 <= wdata;
  end

  assign read_out  = (read_1 != '0) & ({1'b0, raddr_1} >= END);
  assign write_out = write_1 & ({1'b0, waddr_1} >= END);

  always_ff @(posedge clk) begin
    if (!rst_n) fault <= 1'b0;
    else fault <= read_out | write_out;
  end

  always_ff @(posedge clk) fault_addr <= write_out ? waddr_1 : raddr_1;

  generate
    for (genvar b = 0; b < BANKS; b++) begin : g_bank
      hwmoe_ram_bank #(
          .W(BANK_W),
          .DEPTH(DEPTH)
      ) i_bank (
          .clk,
          .we(write_1 & ~write_out & mask_1[b]),
          .waddr(waddr_1[AW-1:0]),
          .wdata(wdata_1[BANK_W*b+:BANK_W]),
          .re(read_1 != '0),
          .raddr(raddr_1[AW-1:0]),
          .rdata(d_data[BANK_W*b+:BANK_W])
      );
    end
  endgenerate
endmodule
