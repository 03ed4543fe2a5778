// One token lane: its copy of the activations and of the token list, its MACs and accumulators.
// CODES = 1: ternary weights alone, on LUTs (hwmoe_dot_ternary); 0: on DSPs (hwmoe_dot_pairs).
// `totals` joins the banks: zero unless one of them was asked three cycles before.
module hwmoe_linear_lane #(
    parameter int T_IN = 16,
    parameter int T_OUT = 16,
    parameter int T_EPI = 8,
    parameter int W_ROWS = 1,
    parameter bit PRIMITIVE = 0,
    parameter bit CODES = 0,
    parameter int MAC_LATENCY = 8,
    parameter int LOADS = 1,
    parameter int X_WORDS = 512,
    parameter int X_BLOCK = 1,
    parameter int GROUPS = 64,
    parameter int G_BLOCK = 1,
    parameter int XW = 9,
    parameter int GW = 6,
    parameter int CHUNKS = T_OUT / T_EPI,
    parameter int W_BITS = CODES ? 2 : 8
) (
    input  logic                        clk,
    input  logic                        rst_n,
    input  logic                        list_we,
    input  logic [                GW:0] list_waddr,
    input  logic [              XW-1:0] list_wdata,
    input  logic                        list_re,
    input  logic [                GW:0] list_raddr,
    output logic [              XW-1:0] list_row,
    input  logic                        x_we,
    input  logic [              XW-1:0] x_waddr,
    input  logic [          8*T_IN-1:0] x_wdata,
    input  logic                        x_re,
    input  logic [              XW-1:0] x_raddr,
    input  logic [           LOADS-1:0] load,
    input  logic [4*W_BITS*T_IN*W_ROWS-1:0] rows,
    input  logic                        swap,
    input  logic                        add,
    input  logic                        add_first,
    input  logic                        add_page,
    input  logic [              GW-1:0] add_addr,
    input  logic [          CHUNKS-1:0] get,
    input  logic                        get_page,
    input  logic [              GW-1:0] get_addr,
    output logic [        T_EPI*27-1:0] totals
);
  localparam int SUM_W = (CODES ? 9 : 16) + $clog2(T_IN);

  logic [         8*T_IN-1:0] x;
  logic [    T_OUT*SUM_W-1:0] sums;
  logic [CHUNKS*T_EPI*27-1:0] bank_totals;

  hwmoe_ram_sdp #(
      .W(XW),
      .DEPTH(2 << GW),
      .BLOCK(G_BLOCK)
  ) i_list (
      .clk,
      .we(list_we),
      .waddr(list_waddr),
      .wdata(list_wdata),
      .re(list_re),
      .raddr(list_raddr),
      .rdata(list_row)
  );

  hwmoe_ram_sdp #(
      .W(8 * T_IN),
      .DEPTH(X_WORDS),
      .BLOCK(X_BLOCK)
  ) i_x (
      .clk,
      .we(x_we),
      .waddr(x_waddr),
      .wdata(x_wdata),
      .re(x_re),
      .raddr(x_raddr),
      .rdata(x)
  );

  generate
    if (CODES) begin : g_ternary
      hwmoe_dot_ternary #(
          .T_IN(T_IN),
          .T_OUT(T_OUT),
          .SLOTS(4 * W_ROWS),
          .PRIMITIVE(PRIMITIVE),
          .LATENCY(MAC_LATENCY)
      ) i_macs (
          .clk,
          .load,
          .rows,
          .swap,
          .x,
          .y(sums)
      );
    end else begin : g_pairs
      hwmoe_dot_pairs #(
          .T_IN(T_IN),
          .T_OUT(T_OUT),
          .SLOTS(4 * W_ROWS),
          .SHARE(W_ROWS),
          .PRIMITIVE(PRIMITIVE)
      ) i_macs (
          .clk,
          .load,
          .rows,
          .swap,
          .x,
          .y(sums)
      );
    end

    for (genvar k = 0; k < CHUNKS; k++) begin : g_chunk
      hwmoe_acc_bank #(
          .CH(T_EPI),
          .SUM_W(SUM_W),
          .DEPTH(GROUPS),
          .BLOCK(G_BLOCK)
      ) i_bank (
          .clk,
          .rst_n,
          .add,
          .add_first,
          .add_page,
          .add_addr,
          .sums(sums[SUM_W*T_EPI*k+:SUM_W*T_EPI]),
          .get(get[k]),
          .get_page,
          .get_addr,
          .totals(bank_totals[T_EPI*27*k+:T_EPI*27])
      );
    end
  endgenerate

  always_comb begin
    totals = '0;
    for (int k = 0; k < CHUNKS; k++) totals |= bank_totals[T_EPI*27*k+:T_EPI*27];
  end
endmodule
