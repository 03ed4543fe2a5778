// The layernorm instruction around the kernel: rows from `res` to it, token after token, its
// parameters joined or split to its beats, its results as whole words to `act8`. `start` begins, at
// least three cycles after the fields have come, which hold still until `done`; `clipped` counts
// with `done`. `stalled`: parameters are missing, and no row could be fed meanwhile.
// Kernel tiles: ceil(dim / LANES) * (LANES / PART), the quotient as ((dim + LANES - 1) * MUL) >> SHIFT.
module hwmoe_vector_norm #(
    parameter int LANES = 8,
    parameter int PART = 4,
    parameter int PORT_BITS = 128,
    parameter int MUL = 1,
    parameter int SHIFT = 3
) (
    input  logic                 clk,
    input  logic                 rst_n,
    input  logic                 start,
    input  logic [         15:0] src,
    input  logic [         15:0] dst,
    input  logic [         15:0] n_tok,
    input  logic [         15:0] first,
    input  logic [         15:0] count,
    input  logic [         15:0] dim,
    input  logic [         40:0] eps,
    input  logic [          7:0] shift,
    output logic                 done,
    output logic [         31:0] clipped,
    output logic                 stalled,
    output logic                 rd_valid,
    input  logic                 rd_ready,
    output logic [         15:0] rd_addr,
    input  logic                 rd_dvalid,
    input  logic [ 16*LANES-1:0] rd_data,
    output logic                 w_valid,
    input  logic                 w_ready,
    output logic [         15:0] w_addr,
    output logic [  8*LANES-1:0] w_data,
    input  logic                 p_valid,
    output logic                 p_ready,
    input  logic [PORT_BITS-1:0] p_data
);
  logic [         11:0] padded;
  logic [         15:0] quotient;
  logic [         15:0] tiles;

  logic                 x_valid;
  logic                 x_ready;
  logic [  16*PART-1:0] x_data;
  logic                 param_valid;
  logic                 param_ready;
  logic [  64*PART-1:0] param_data;
  logic                 y_valid;
  logic                 y_ready;
  logic [   8*PART-1:0] y_data;
  logic                 status_valid;

  always_ff @(posedge clk) begin
    padded   <= 12'(dim) + 12'(LANES - 1);
    quotient <= 16'((32'(padded) * 32'(MUL)) >> SHIFT);
    stalled  <= param_ready & ~param_valid & ~p_valid & ~x_ready;
  end

  assign tiles = quotient * 16'(LANES / PART);
  assign done  = status_valid & ~w_valid;

  hwmoe_vector_feed #(
      .LANES(LANES),
      .PART (PART)
  ) i_feed (
      .clk,
      .rst_n,
      .start,
      .base(src + first),
      .stride(n_tok),
      .rows(count),
      .parts(tiles),
      .rd_valid,
      .rd_ready,
      .rd_addr,
      .rd_dvalid,
      .rd_data,
      .m_valid(x_valid),
      .m_ready(x_ready),
      .m_data(x_data)
  );

  hwmoe_gearbox #(
      .FROM(PORT_BITS),
      .TO(64 * PART)
  ) i_params (
      .clk,
      .rst_n,
      .clear(1'b0),
      .s_valid(p_valid),
      .s_ready(p_ready),
      .s_data (p_data),
      .m_valid(param_valid),
      .m_ready(param_ready),
      .m_data (param_data)
  );

  /* verilator lint_off PINCONNECTEMPTY */  // the kernel is idle: it has given its last status
  hwmoe_layernorm i_kernel (
      .ap_clk(clk),
      .ap_rst_n(rst_n),
      .s_axis_cmd_TDATA({23'b0, eps, 8'b0, shift, dim, tiles, count}),
      .s_axis_cmd_TVALID(start),
      .s_axis_cmd_TREADY(),
      .s_axis_x_TDATA(x_data),
      .s_axis_x_TVALID(x_valid),
      .s_axis_x_TREADY(x_ready),
      .s_axis_p_TDATA(param_data),
      .s_axis_p_TVALID(param_valid),
      .s_axis_p_TREADY(param_ready),
      .m_axis_y_TDATA(y_data),
      .m_axis_y_TVALID(y_valid),
      .m_axis_y_TREADY(y_ready),
      .m_axis_status_TDATA(clipped),
      .m_axis_status_TVALID(status_valid),
      .m_axis_status_TREADY(~w_valid)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  hwmoe_vector_pack #(
      .LANES(LANES),
      .PART (PART)
  ) i_pack (
      .clk,
      .rst_n,
      .start,
      .base(dst),
      .stride(count),
      .parts(tiles),
      .s_valid(y_valid),
      .s_ready(y_ready),
      .s_data(y_data),
      .w_valid,
      .w_ready,
      .w_addr,
      .w_data
  );
endmodule
