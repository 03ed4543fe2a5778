// Sends the token list of an expert to the kernel, a row a cycle: rows 0 .. n_list - 1 (n_list > 0)
// of table `slot`. `row` answers 3 cycles after its index; the ports are free in every cycle.
module hwmoe_linear_listfeed #(
    parameter int QUEUE = 4,
    parameter int ROOM = 16
) (
    input  logic        clk,
    input  logic        rst_n,
    input  logic        s_valid,
    output logic        s_ready,
    input  logic [ 3:0] s_slot,
    input  logic [ 7:0] s_expert,
    input  logic [15:0] s_n_list,
    output logic [ 3:0] row_slot,
    output logic [ 7:0] row_expert,
    output logic [15:0] row_index,
    input  logic [15:0] row,
    output logic        list_valid,
    input  logic        list_ready,
    output logic [15:0] list_data
);
  logic        next_valid;
  logic        next_ready;
  logic [ 3:0] next_slot;
  logic [ 7:0] next_expert;
  logic [15:0] next_n_list;
  logic        active;
  logic [15:0] left;
  logic        has_room;
  logic        ask;
  logic        answer;

  hwmoe_fifo #(
      .W(28),
      .DEPTH(QUEUE)
  ) i_commands (
      .clk,
      .rst_n,
      .s_valid,
      .s_ready,
      .s_data({s_slot, s_expert, s_n_list}),
      .m_valid(next_valid),
      .m_ready(next_ready),
      .m_data({next_slot, next_expert, next_n_list})
  );

  assign ask        = active & has_room;
  assign next_ready = ~active | (ask & (left == 16'd1));

  always_ff @(posedge clk) begin
    if (!rst_n) active <= 1'b0;
    else if (next_ready) active <= next_valid;
  end

  always_ff @(posedge clk) begin
    if (next_ready) begin
      row_slot   <= next_slot;
      row_expert <= next_expert;
      row_index  <= '0;
      left       <= next_n_list;
    end else if (ask) begin
      row_index <= row_index + 1'b1;
      left      <= left - 1'b1;
    end
  end

  hwmoe_delay #(
      .W(1),
      .N(3)
  ) i_answer (
      .clk,
      .rst_n,
      .d(ask),
      .q(answer)
  );

  hwmoe_linear_window #(
      .W(16),
      .ROOM(ROOM)
  ) i_window (
      .clk,
      .rst_n,
      .ask,
      .has_room,
      .d_valid(answer),
      .d_data(row),
      .m_valid(list_valid),
      .m_ready(list_ready),
      .m_data(list_data)
  );
endmodule
