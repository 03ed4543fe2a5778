// The vector engine between models of its memories, driven by a script: commands come on s_axis_c
// in order, answers leave on m_axis_r, LayerNorm parameters pass through s_axis_p.
//   0, 1, 2 write a word of res, y, act8   3 go   4 wait for fin: clipped, cycles since go, stalled
//   5, 6 read a word of res, act8          7 len  8 row of a list, sampled in the cycle promised
//   9 set: seed of the grants, how many in 256 are refused, the planted fault
// Memories answer 3 cycles after a grant and show a write to reads granted 2 cycles after it.
module vector_bench #(
    parameter int L = 8,
    parameter int PORT_BITS = 128,
    parameter int GRAIN = 4,
    parameter int WORDS = 256
) (
    input  logic         ap_clk,
    input  logic         ap_rst_n,
    input  logic [575:0] s_axis_c_TDATA,
    input  logic         s_axis_c_TVALID,
    output logic         s_axis_c_TREADY,
    input  logic [PORT_BITS-1:0] s_axis_p_TDATA,
    input  logic         s_axis_p_TVALID,
    output logic         s_axis_p_TREADY,
    output logic [511:0] m_axis_r_TDATA,
    output logic         m_axis_r_TVALID,
    input  logic         m_axis_r_TREADY
);
  localparam int AW = $clog2(WORDS);

  logic [16*L-1:0] res[0:WORDS-1];
  logic [16*L-1:0] y[0:WORDS-1];
  logic [8*L-1:0] act8[0:WORDS-1];
  logic [7:0] fault;
  logic [7:0] refused;
  logic [63:0] noise;

  // --- the engine and its memories
  logic go_valid, go_ready, fin, core_stalled;
  logic [511:0] go_instr, held;
  logic [31:0] fin_clipped;
  logic nr_valid, nr_ready, br_valid, br_ready, ar_valid, ar_ready, gr_valid, gr_ready;
  logic rw_valid, rw_ready, a8_valid, a8_ready;
  logic [15:0] nr_addr, br_addr, ar_addr, gr_addr, rw_addr, a8_addr;
  logic [2:0] nr_way, br_way, ar_way, gr_way;
  logic [16*L-1:0] rw_data, res_data, y_data;
  logic [L/GRAIN-1:0] a8_mask;
  logic [8*L-1:0] a8_data;
  logic [3:0] len_slot, row_slot;
  logic [7:0] len_expert, row_expert;
  logic [15:0] len, row_index, row;
  logic running, nr_take, br_take, ar_take, gr_take;

  hwmoe_vector_engine #(
      .A8_GRAIN(GRAIN)
  ) i_engine (
      .clk(ap_clk), .rst_n(ap_rst_n), .p_valid(s_axis_p_TVALID), .p_ready(s_axis_p_TREADY),
      .p_data(s_axis_p_TDATA), .nr_dvalid(nr_way[2]), .br_dvalid(br_way[2]),
      .ar_dvalid(ar_way[2]), .gr_dvalid(gr_way[2]), .*
  );

  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) noise <= 64'h9E3779B97F4A7C15;
    else if (set) noise <= s_axis_c_TDATA[63:0];
    else noise <= next_noise(noise);
  end
  function automatic logic [63:0] next_noise(input logic [63:0] n);
    logic [63:0] m;
    m = n ^ (n << 13);
    m = m ^ (m >> 7);
    next_noise = m ^ (m << 17);
  endfunction

  assign nr_ready = noise[7:0] >= refused;
  assign br_ready = noise[15:8] >= refused;
  assign ar_ready = noise[23:16] >= refused;
  assign gr_ready = noise[31:24] >= refused;
  assign rw_ready = noise[39:32] >= refused;
  assign a8_ready = noise[47:40] >= refused;
  assign nr_take  = nr_valid & nr_ready;
  assign br_take  = br_valid & br_ready;
  assign ar_take  = ar_valid & ar_ready;
  assign gr_take  = gr_valid & gr_ready;

  logic [16*L-1:0] res_1, res_2, y_1, y_2;
  logic rw_late, a8_late;
  logic [AW-1:0] rw_late_addr, a8_late_addr;
  logic [16*L-1:0] rw_late_data;
  logic [8*L-1:0] a8_late_data;
  logic [L/GRAIN-1:0] a8_late_mask;

  always_ff @(posedge ap_clk) begin
    nr_way <= ap_rst_n ? {nr_way[1:0], nr_take} : '0;
    br_way <= ap_rst_n ? {br_way[1:0], br_take} : '0;
    ar_way <= ap_rst_n ? {ar_way[1:0], ar_take} : '0;
    gr_way <= ap_rst_n ? {gr_way[1:0], gr_take} : '0;
    res_1 <= nr_take ? res[nr_addr[AW-1:0]] : br_take ? res[br_addr[AW-1:0]] : {L{16'hDEAD}};
    y_1 <= ar_take ? y[ar_addr[AW-1:0]] : gr_take ? y[gr_addr[AW-1:0]] : {L{16'hDEAD}};
    {res_data, res_2} <= {res_2, res_1};
    {y_data, y_2} <= {y_2, y_1};

    rw_late <= rw_valid & rw_ready;
    {rw_late_addr, rw_late_data} <= {rw_addr[AW-1:0], rw_data};
    a8_late <= a8_valid & a8_ready;
    {a8_late_addr, a8_late_mask, a8_late_data} <= {a8_addr[AW-1:0], a8_mask, a8_data};
    if (rw_late) res[rw_late_addr] <= rw_late_data;
    for (int g = 0; g < L / GRAIN; g++)
      if (a8_late & a8_late_mask[g])
        act8[a8_late_addr][8*GRAIN*g+:8*GRAIN] <= a8_late_data[8*GRAIN*g+:8*GRAIN];

    if (ap_rst_n) begin
      assert (!(nr_valid & br_valid) && !(ar_valid & gr_valid));
      assert (running || !(nr_valid | br_valid | ar_valid | gr_valid | rw_valid | a8_valid));
      assert (running || !core_stalled);
    end
    if (take & op == 8'd0) res[at] <= s_axis_c_TDATA[16*L-1:0];
    if (take & op == 8'd1) y[at] <= s_axis_c_TDATA[16*L-1:0];
    if (take & op == 8'd2) act8[at] <= s_axis_c_TDATA[8*L-1:0];
  end

  // --- the script
  logic [7:0] op;
  logic [AW-1:0] at;
  logic take, set, answers, may, room, ended;
  logic [31:0] cycles, stalls, clipped;
  logic [511:0] answer, answer_1, answer_2, answer_3;
  logic [2:0] way;
  logic [7:0] op_1, op_2, op_3;

  assign op      = s_axis_c_TDATA[519:512];
  assign at      = s_axis_c_TDATA[520+:AW];
  assign answers = op >= 8'd4 && op <= 8'd8;
  assign may     = op == 8'd3 ? go_ready : op == 8'd4 ? ended & room : ~answers | room;
  assign take    = s_axis_c_TVALID & may;
  assign set     = take & op == 8'd9;
  assign s_axis_c_TREADY = may;

  assign go_valid = s_axis_c_TVALID & op == 8'd3;
  assign go_instr = go_valid ? s_axis_c_TDATA[511:0] : running ? held : {8{noise}};
  assign {len_slot, len_expert} =
      (take & op == 8'd7) ? {s_axis_c_TDATA[539:536], s_axis_c_TDATA[551:544]} : noise[11:0];
  assign {row_slot, row_expert, row_index} = (take & op == 8'd8)
      ? {s_axis_c_TDATA[539:536], s_axis_c_TDATA[551:544], s_axis_c_TDATA[567:552]} : noise[39:12];

  always_comb begin
    answer = '0;
    if (op == 8'd4) answer[95:0] = {stalls, cycles, clipped};
    if (op == 8'd5) answer[16*L-1:0] = res[at];
    if (op == 8'd6) answer[8*L-1:0] = act8[at];
  end

  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) begin
      running <= 1'b0;
      ended   <= 1'b0;
      fault   <= '0;
      refused <= '0;
      way     <= '0;
    end else begin
      if (set) {fault, refused} <= s_axis_c_TDATA[79:64];
      running <= (go_valid & go_ready) | (running & ~fin);
      ended   <= (fin & running) | (ended & ~(take & op == 8'd4));
      way     <= {way[1:0], take & answers};
      assert (running || !fin);
    end
    if (go_valid & go_ready) {held, cycles, stalls} <= {s_axis_c_TDATA[511:0], 32'd1, 32'd0};
    else if (running & ~fin) {cycles, stalls} <= {cycles + 1, stalls + 32'(core_stalled)};
    if (fin) clipped <= fin_clipped;
    {op_3, op_2, op_1} <= {op_2, op_1, op};
    answer_1 <= answer;
    answer_2 <= answer_1;
    answer_3 <= op_2 == 8'd7 ? 512'(len) : answer_2;
  end

  /* verilator lint_off PINCONNECTEMPTY */
  hwmoe_norm_credit #(.N(16)) i_room (
      .clk(ap_clk), .rst_n(ap_rst_n), .take(take & answers),
      .back(m_axis_r_TVALID & m_axis_r_TREADY), .has(room), .idle()
  );
  hwmoe_fifo #(.W(512), .DEPTH(16)) i_answers (
      .clk(ap_clk), .rst_n(ap_rst_n), .s_valid(way[2]), .s_ready(),
      .s_data(op_3 == 8'd8 ? 512'(row) : answer_3),
      .m_valid(m_axis_r_TVALID), .m_ready(m_axis_r_TREADY), .m_data(m_axis_r_TDATA)
  );
  /* verilator lint_on PINCONNECTEMPTY */
endmodule
