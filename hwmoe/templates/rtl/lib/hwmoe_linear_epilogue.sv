// Data path after the accumulators, T_EPI channels a cycle: bias, rescaling, table, counting of
// clipped values, output FIFO. Runs freely; `hwmoe_linear_drain` starts only what has room at the
// end. `totals` (the OR of all banks, in a register) comes GET cycles after `valid`.
//   GET-1: parameters of a new chunk are taken     GET: + bias     GET+1..GET+5: rescaling
//   GET+6: table                                   GET+7: output register; then the FIFO
module hwmoe_linear_epilogue #(
    parameter int T_EPI = 8,
    parameter int GET = 4,
    parameter int ROOM = 32,
    parameter int PARAMS = 8
) (
    input  logic                clk,
    input  logic                rst_n,
    input  logic                valid,
    input  logic                first,
    input  logic [T_EPI*27-1:0] totals,
    input  logic [         1:0] shift,
    input  logic                gelu,
    input  logic                wide,
    input  logic                clear,
    input  logic                report,
    input  logic                param_valid,
    output logic                param_ready,
    input  logic [T_EPI*45-1:0] param_data,
    input  logic                table_we,
    input  logic [         7:0] table_addr,
    input  logic [         7:0] table_data,
    output logic                room_back,
    output logic                y_valid,
    input  logic                y_ready,
    output logic [T_EPI*16-1:0] y_data,
    output logic                status_valid,
    input  logic                status_ready,
    output logic [        31:0] status_data
);
  localparam int LEVELS = $clog2(T_EPI);
  localparam int OUT_W = (T_EPI * 16 > 32) ? T_EPI * 16 : 32;

  logic                first_valid;
  logic                take_params;
  logic                param_ok;
  logic [T_EPI*45-1:0] param_head;
  logic [T_EPI*27-1:0] bias;
  logic [T_EPI*18-1:0] mult_1;
  logic [T_EPI*18-1:0] mult_2;
  logic [T_EPI*27-1:0] biased;
  logic [T_EPI*16-1:0] result;
  logic [   T_EPI-1:0] clipped;
  logic [ T_EPI*8-1:0] entry;
  logic [T_EPI*16-1:0] result_q;
  logic [T_EPI*16-1:0] out;
  logic                clip_valid;
  logic                out_valid;
  logic [ 2*T_EPI-1:0] clip_terms;
  logic [  LEVELS+1:0] clip_sum;
  logic [        31:0] clip_count;
  logic [   OUT_W-1:0] pushed;
  logic                head_valid;
  logic                head_ready;
  logic [     OUT_W:0] head;
  logic                head_report;
  logic                unused_ready;  // the drain counts the places
  logic                y_room;
  logic                status_room;

  // Parameters wait in a FIFO; the drain has made sure that there are some when `first` arrives.
  hwmoe_fifo #(
      .W(T_EPI * 45),
      .DEPTH(PARAMS)
  ) i_params (
      .clk,
      .rst_n,
      .s_valid(param_valid),
      .s_ready(param_ready),
      .s_data(param_data),
      .m_valid(param_ok),
      .m_ready(take_params),
      .m_data(param_head)
  );

  hwmoe_delay #(
      .W(1),
      .N(GET - 1)
  ) i_first (
      .clk,
      .rst_n,
      .d(valid & first),
      .q(first_valid)
  );
  assign take_params = first_valid & param_ok;

  always_ff @(posedge clk) begin
    if (take_params) begin
      for (int c = 0; c < T_EPI; c++) begin
        bias[27*c+:27]   <= param_head[45*c+:27];
        mult_1[18*c+:18] <= param_head[45*c+27+:18];
      end
    end
    mult_2 <= mult_1;
    for (int c = 0; c < T_EPI; c++) biased[27*c+:27] <= totals[27*c+:27] + bias[27*c+:27];
  end

  generate
    for (genvar c = 0; c < T_EPI; c++) begin : g_channel
      hwmoe_requant i_requant (
          .clk,
          .acc(biased[27*c+:27]),
          .mult(mult_2[18*c+:18]),
          .shift,
          .wide,
          .result(result[16*c+:16]),
          .clipped(clipped[c])
      );
      hwmoe_table i_table (
          .clk,
          .we(table_we),
          .waddr(table_addr),
          .wdata(table_data),
          .index(result[16*c+:8]),
          .entry(entry[8*c+:8])
      );
      assign clip_terms[2*c+:2] = {1'b0, clipped[c] & clip_valid};
    end
  endgenerate

  always_ff @(posedge clk) begin
    result_q <= result;
    for (int c = 0; c < T_EPI; c++) begin
      out[16*c+:16] <= gelu ? {{8{entry[8*c+7]}}, entry[8*c+:8]} : result_q[16*c+:16];
    end
  end

  hwmoe_delay #(
      .W(1),
      .N(GET + 6)
  ) i_clip_valid (
      .clk,
      .rst_n,
      .d(valid),
      .q(clip_valid)
  );
  hwmoe_delay #(
      .W(1),
      .N(2)
  ) i_out_valid (
      .clk,
      .rst_n,
      .d(clip_valid),
      .q(out_valid)
  );

  hwmoe_adder_tree #(
      .N(T_EPI),
      .W(2)
  ) i_clips (
      .clk,
      .terms(clip_terms),
      .sum(clip_sum)
  );
  always_ff @(posedge clk) begin
    if (!rst_n) clip_count <= '0;
    else if (clear) clip_count <= '0;
    else clip_count <= clip_count + 32'(clip_sum);
  end

  // Results and, in their order, the status of each command.
  assign pushed = report ? OUT_W'(clip_count) : OUT_W'(out);

  hwmoe_fifo #(
      .W(OUT_W + 1),
      .DEPTH(ROOM)
  ) i_out (
      .clk,
      .rst_n,
      .s_valid(out_valid | report),
      .s_ready(unused_ready),
      .s_data({report, pushed}),
      .m_valid(head_valid),
      .m_ready(head_ready),
      .m_data(head)
  );

  assign head_report = head[OUT_W];
  assign head_ready  = head_report ? status_room : y_room;
  assign room_back   = head_valid & head_ready;

  hwmoe_skid #(
      .W(T_EPI * 16)
  ) i_y (
      .clk,
      .rst_n,
      .s_valid(head_valid & ~head_report),
      .s_ready(y_room),
      .s_data(head[T_EPI*16-1:0]),
      .m_valid(y_valid),
      .m_ready(y_ready),
      .m_data(y_data)
  );
  hwmoe_skid #(
      .W(32)
  ) i_status (
      .clk,
      .rst_n,
      .s_valid(head_valid & head_report),
      .s_ready(status_room),
      .s_data(head[31:0]),
      .m_valid(status_valid),
      .m_ready(status_ready),
      .m_data(status_data)
  );
endmodule
