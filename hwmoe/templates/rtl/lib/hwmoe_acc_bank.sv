// Accumulators of CH output channels of one token lane, in two pages: one is accumulated while the
// other is read out.
//
// A term: `add`, `add_first` (overwrite, do not add), `add_page` and `add_addr` come two cycles
// before `sums`. The same address of a page may come again three cycles later, not earlier.
// Read-out: `get` with `get_page` and `get_addr`; three cycles later `totals` holds the word, and
// zero if there was no `get`, so that banks can be joined by OR. A word can be got from four
// cycles after its last `add` on. The page read is never the page added to.
module hwmoe_acc_bank #(
    parameter int CH = 8,
    parameter int SUM_W = 20,
    parameter int DEPTH = 64,
    parameter int BLOCK = 1,
    parameter int AW = (DEPTH > 1) ? $clog2(DEPTH) : 1
) (
    input  logic                clk,
    input  logic                rst_n,
    input  logic                add,
    input  logic                add_first,
    input  logic                add_page,
    input  logic [      AW-1:0] add_addr,
    input  logic [CH*SUM_W-1:0] sums,
    input  logic                get,
    input  logic                get_page,
    input  logic [      AW-1:0] get_addr,
    output logic [   CH*27-1:0] totals
);
  // verilator no_inline_module
  logic add_1, add_2, add_3;
  logic first_1, first_2;
  logic page_1, page_2, page_3;
  logic [AW-1:0] addr_1, addr_2, addr_3;
  logic get_1, get_2;
  logic get_page_1, get_page_2;
  logic [AW-1:0] get_addr_1;
  logic [CH*27-1:0] page0;
  logic [CH*27-1:0] page1;
  logic [CH*27-1:0] held;
  logic [CH*27-1:0] sum_3;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      add_1 <= 1'b0;
      add_2 <= 1'b0;
      add_3 <= 1'b0;
      get_1 <= 1'b0;
      get_2 <= 1'b0;
    end else begin
      add_1 <= add;
      add_2 <= add_1;
      add_3 <= add_2;
      get_1 <= get;
      get_2 <= get_1;
    end
    first_1    <= add_first;
    first_2    <= first_1;
    page_1     <= add_page;
    page_2     <= page_1;
    page_3     <= page_2;
    addr_1     <= add_addr;
    addr_2     <= addr_1;
    addr_3     <= addr_2;
    get_page_1 <= get_page;
    get_page_2 <= get_page_1;
    get_addr_1 <= get_addr;
  end

  assign held = page_2 ? page1 : page0;

  always_ff @(posedge clk) begin
    for (int c = 0; c < CH; c++) begin
      sum_3[27*c+:27] <= 27'($signed(sums[SUM_W*c+:SUM_W])) + (first_2 ? '0 : held[27*c+:27]);
    end
    if (!get_2) totals <= '0;
    else totals <= get_page_2 ? page1 : page0;
  end

  hwmoe_ram_sdp #(
      .W(CH * 27),
      .DEPTH(DEPTH),
      .BLOCK(BLOCK)
  ) i_page0 (
      .clk,
      .we(add_3 & ~page_3),
      .waddr(addr_3),
      .wdata(sum_3),
      .re((add_1 & ~page_1) | (get_1 & ~get_page_1)),
      .raddr((add_1 & ~page_1) ? addr_1 : get_addr_1),
      .rdata(page0)
  );

  hwmoe_ram_sdp #(
      .W(CH * 27),
      .DEPTH(DEPTH),
      .BLOCK(BLOCK)
  ) i_page1 (
      .clk,
      .we(add_3 & page_3),
      .waddr(addr_3),
      .wdata(sum_3),
      .re((add_1 & page_1) | (get_1 & get_page_1)),
      .raddr((add_1 & page_1) ? addr_1 : get_addr_1),
      .rdata(page1)
  );
endmodule
