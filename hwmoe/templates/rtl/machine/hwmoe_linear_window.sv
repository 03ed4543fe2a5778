// Room for the answers of reads under way: `ask` (only while `has_room`) takes one of ROOM places,
// a word that leaves gives it back. ROOM above the reads' round trip keeps a word a cycle.
module hwmoe_linear_window #(
    parameter int W = 128,
    parameter int ROOM = 16
) (
    input  logic         clk,
    input  logic         rst_n,
    input  logic         ask,
    output logic         has_room,
    input  logic         d_valid,
    input  logic [W-1:0] d_data,
    output logic         m_valid,
    input  logic         m_ready,
    output logic [W-1:0] m_data
);
  /* verilator lint_off UNUSEDSIGNAL */  // there is always room for what was asked for
  logic idle;
  logic accepts;
  /* verilator lint_on UNUSEDSIGNAL */

  hwmoe_norm_credit #(
      .N(ROOM)
  ) i_places (
      .clk,
      .rst_n,
      .take(ask),
      .back(m_valid & m_ready),
      .has(has_room),
      .idle
  );

  hwmoe_fifo #(
      .W(W),
      .DEPTH(ROOM)
  ) i_words (
      .clk,
      .rst_n,
      .s_valid(d_valid),
      .s_ready(accepts),
      .s_data(d_data),
      .m_valid,
      .m_ready,
      .m_data
  );
endmodule
