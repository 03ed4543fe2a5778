// The end of the parameter channel: beats of PORT_BITS arrive as asked for (`o`, one entry a
// request, see hwmoe_linear_param_request); tables leave byte by byte, parameters as beats of
// PARAM_BITS. `wanted`: the kernel would take what has not arrived.
module hwmoe_linear_params #(
    parameter int PORT_BITS = 128,
    parameter int PARAM_BITS = 512,
    parameter int REQUESTS = 8
) (
    input  logic                  clk,
    input  logic                  rst_n,
    input  logic                  o_valid,
    output logic                  o_ready,
    input  logic                  o_table,
    input  logic [           7:0] o_last,
    input  logic [          31:0] o_beats,
    input  logic                  p_valid,
    output logic                  p_ready,
    input  logic [ PORT_BITS-1:0] p_data,
    output logic                  table_valid,
    input  logic                  table_ready,
    output logic [           7:0] table_data,
    output logic                  param_valid,
    input  logic                  param_ready,
    output logic [PARAM_BITS-1:0] param_data,
    output logic                  wanted
);
  logic        next_valid;
  logic        next_ready;
  logic        next_table;
  logic [ 7:0] next_last;
  logic [31:0] next_beats;
  logic        active;
  logic        is_table;
  /* verilator lint_off UNUSEDSIGNAL */  // where a beat holds several beats of parameters
  logic [ 7:0] last;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [31:0] left;
  logic        ends;
  logic        bytes_ready;
  logic        words_ready;

  hwmoe_fifo #(
      .W(41),
      .DEPTH(REQUESTS)
  ) i_requests (
      .clk,
      .rst_n,
      .s_valid(o_valid),
      .s_ready(o_ready),
      .s_data({o_table, o_last, o_beats}),
      .m_valid(next_valid),
      .m_ready(next_ready),
      .m_data({next_table, next_last, next_beats})
  );

  assign ends       = left == 32'd1;
  assign p_ready    = active & (is_table ? bytes_ready : words_ready);
  assign next_ready = ~active | (p_valid & p_ready & ends);
  assign wanted     = active & ~p_valid &
                      (is_table ? table_ready & ~table_valid : param_ready & ~param_valid);

  always_ff @(posedge clk) begin
    if (!rst_n) active <= 1'b0;
    else if (next_ready) active <= next_valid;
  end

  always_ff @(posedge clk) begin
    if (next_ready) begin
      is_table <= next_table;
      last     <= next_last;
      left     <= next_beats;
    end else if (p_valid & p_ready) begin
      left <= left - 1'b1;
    end
  end

  hwmoe_gearbox #(
      .FROM(PORT_BITS),
      .TO(8)
  ) i_bytes (
      .clk,
      .rst_n,
      .clear(1'b0),
      .s_valid(p_valid & active & is_table),
      .s_ready(bytes_ready),
      .s_data(p_data),
      .m_valid(table_valid),
      .m_ready(table_ready),
      .m_data(table_data)
  );

  generate
    if (PARAM_BITS >= PORT_BITS) begin : g_join
      hwmoe_gearbox #(
          .FROM(PORT_BITS),
          .TO(PARAM_BITS)
      ) i_words (
          .clk,
          .rst_n,
          .clear(1'b0),
          .s_valid(p_valid & active & ~is_table),
          .s_ready(words_ready),
          .s_data(p_data),
          .m_valid(param_valid),
          .m_ready(param_ready),
          .m_data(param_data)
      );
    end else begin : g_split
      hwmoe_linear_split #(
          .IN_W (PORT_BITS),
          .OUT_W(PARAM_BITS)
      ) i_words (
          .clk,
          .rst_n,
          .s_valid(p_valid & active & ~is_table),
          .s_ready(words_ready),
          .s_data(p_data),
          .s_last(ends ? last : 8'd255),
          .m_valid(param_valid),
          .m_ready(param_ready),
          .m_data(param_data)
      );
    end
  endgenerate
endmodule
