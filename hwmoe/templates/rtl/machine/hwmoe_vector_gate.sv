// The gate instruction around the kernel: logits from `y` to it, a logit a cycle, and its results
// as (expert, token row, score), one a cycle, tokens in ascending order. `start` begins; the fields
// hold still until `done`, which comes when the last result has been put.
module hwmoe_vector_gate #(
    parameter int LANES = 8
) (
    input  logic                clk,
    input  logic                rst_n,
    input  logic                start,
    input  logic [        15:0] src,
    input  logic [        15:0] n_tok,
    input  logic [        15:0] experts,
    input  logic [         7:0] top_k,
    input  logic [         7:0] shift,
    input  logic [        16:0] mult,
    input  logic                over_all,
    output logic                done,
    output logic                rd_valid,
    input  logic                rd_ready,
    output logic [        15:0] rd_addr,
    input  logic                rd_dvalid,
    input  logic [16*LANES-1:0] rd_data,
    output logic                put,
    output logic [        15:0] put_expert,
    output logic [        15:0] put_row,
    output logic [        15:0] put_score
);
  logic        x_valid;
  logic        x_ready;
  logic [15:0] x_data;
  logic        y_valid;
  logic [31:0] y_data;
  logic [ 7:0] rank;
  logic        rank_last;
  logic [15:0] row;

  assign rank_last = rank == 8'd1;

  always_ff @(posedge clk) begin
    if (!rst_n) put <= 1'b0;
    else put <= y_valid;
  end

  always_ff @(posedge clk) begin
    put_expert <= y_data[15:0];
    put_score  <= y_data[31:16];
    put_row    <= row;
    if (start) begin
      row  <= '0;
      rank <= top_k;
    end else if (y_valid) begin
      rank <= rank_last ? top_k : rank - 1'b1;
      if (rank_last) row <= row + 1'b1;
    end
  end

  hwmoe_vector_feed #(
      .LANES(LANES),
      .PART (1)
  ) i_feed (
      .clk,
      .rst_n,
      .start,
      .base(src),
      .stride(n_tok),
      .rows(n_tok),
      .parts(experts),
      .rd_valid,
      .rd_ready,
      .rd_addr,
      .rd_dvalid,
      .rd_data,
      .m_valid(x_valid),
      .m_ready(x_ready),
      .m_data(x_data)
  );

  /* verilator lint_off PINCONNECTEMPTY */  // idle when `start` comes; its status is always 0
  hwmoe_gate i_kernel (
      .ap_clk(clk),
      .ap_rst_n(rst_n),
      .s_axis_cmd_TDATA({47'b0, mult, 15'b0, over_all, shift, top_k, experts, n_tok}),
      .s_axis_cmd_TVALID(start),
      .s_axis_cmd_TREADY(),
      .s_axis_x_TDATA(x_data),
      .s_axis_x_TVALID(x_valid),
      .s_axis_x_TREADY(x_ready),
      .m_axis_y_TDATA(y_data),
      .m_axis_y_TVALID(y_valid),
      .m_axis_y_TREADY(1'b1),
      .m_axis_status_TDATA(),
      .m_axis_status_TVALID(done),
      .m_axis_status_TREADY(1'b1)
  );
  /* verilator lint_on PINCONNECTEMPTY */
endmodule
