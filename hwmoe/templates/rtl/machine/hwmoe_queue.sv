// Instructions that wait for an engine, DEPTH of them in distributed RAM. Only the BITS that the
// engine reads are stored; the ones above come out as zero.
module hwmoe_queue #(
    parameter int BITS  = 512,
    parameter int DEPTH = 8
) (
    input  logic         clk,
    input  logic         rst_n,
    input  logic         q_valid,
    output logic         q_ready,
    input  logic         q_null,
    input  logic [ 15:0] q_step,
    /* verilator lint_off UNUSEDSIGNAL */  // bits of other engines' instructions
    input  logic [511:0] q_instr,
    /* verilator lint_on UNUSEDSIGNAL */
    output logic         i_valid,
    input  logic         i_ready,
    output logic         i_null,
    output logic [ 15:0] i_step,
    output logic [511:0] i_instr
);
  logic [BITS-1:0] head;

  assign i_instr = 512'(head);

  hwmoe_fifo #(
      .W(BITS + 17),
      .DEPTH(DEPTH)
  ) i_fifo (
      .clk,
      .rst_n,
      .s_valid(q_valid),
      .s_ready(q_ready),
      .s_data({q_null, q_step, q_instr[BITS-1:0]}),
      .m_valid(i_valid),
      .m_ready(i_ready),
      .m_data({i_null, i_step, head})
  );
endmodule
