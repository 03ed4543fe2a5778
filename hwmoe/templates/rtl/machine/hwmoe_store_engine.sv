// Core of the store engine: the first go_n_out int16 of words go_src, go_src + 1, .. of y, or (go_res)
// of res, to go_offset bytes after the result pointer, padded with zeros to whole beats. One word at
// a time. Finishes when the write response has come (`response`).
// The pointer, set by run_start, moves on by logit_bytes after the last store of an image (go_last);
// `image_done` pulses then.
module hwmoe_store_engine #(
    parameter int LANES = 16,
    parameter int PORT_BITS = 128
) (
    input  logic                 clk,
    input  logic                 rst_n,
    input  logic                 run_start,
    input  logic [         63:0] results,
    input  logic [         31:0] logit_bytes,
    input  logic                 go_valid,
    output logic                 go_ready,
    input  logic                 go_res,
    input  logic                 go_last,
    input  logic [         15:0] go_src,
    input  logic [         31:0] go_n_out,
    input  logic [         31:0] go_offset,
    output logic                 fin,
    output logic [         31:0] fin_clipped,
    output logic                 image_done,
    output logic                 core_stalled,
    output logic                 y_valid,
    input  logic                 y_ready,
    output logic                 res_valid,
    input  logic                 res_ready,
    output logic [         15:0] r_addr,
    input  logic                 y_dvalid,
    input  logic [ 16*LANES-1:0] y_data,
    input  logic                 res_dvalid,
    input  logic [ 16*LANES-1:0] res_data,
    output logic                 c_valid,
    input  logic                 c_ready,
    output logic [         63:0] c_addr,
    output logic [         31:0] c_len,
    output logic                 s_valid,
    input  logic                 s_ready,
    output logic [PORT_BITS-1:0] s_data,
    input  logic                 response
);
  localparam int WORD = 16 * LANES;
  localparam int LANE_BITS = $clog2(LANES);
  localparam int BEAT_BITS = $clog2(PORT_BITS / 16);  // values of a beat

  typedef enum logic [2:0] {
    IDLE,
    ASK,
    READ,
    TAKE,
    PUSH,
    RESPOND,
    DONE
  } state_t;
  state_t state;

  logic [63:0] result;
  logic from_res, ends_image;
  logic [31:0] values;  // not yet read
  logic [31:0] beats;  // not yet sent
  logic full;  // a whole word of values is left, or more
  logic [LANE_BITS:0] rest;  // values besides whole words
  logic r_ready, d_valid;
  logic [WORD-1:0] d_data, word, kept;
  logic word_ready;
  logic box_valid;
  logic sent, last;

  assign go_ready     = state == IDLE;
  assign fin          = state == DONE;
  assign fin_clipped  = '0;
  assign image_done   = fin & ends_image;
  assign core_stalled = (c_valid & ~c_ready) | (s_valid & ~s_ready) | (state == RESPOND);
  assign c_valid      = state == ASK;
  assign c_len        = beats;

  assign y_valid   = (state == READ) & ~from_res;
  assign res_valid = (state == READ) & from_res;
  assign r_ready   = from_res ? res_ready : y_ready;
  assign d_valid   = from_res ? res_dvalid : y_dvalid;
  assign d_data    = from_res ? res_data : y_data;

  assign s_valid = box_valid & (beats != '0);
  assign sent    = s_valid & s_ready;
  assign last    = sent & (beats == 32'd1);

  assign full = values[31:LANE_BITS] != '0;
  assign rest = {1'b0, values[LANE_BITS-1:0]};
  generate
    for (genvar l = 0; l < LANES; l++) begin : g_lane
      logic there;
      assign there = full | (rest > (LANE_BITS + 1)'(l));
      assign kept[16*l+:16] = there ? d_data[16*l+:16] : 16'd0;
    end
  endgenerate

  hwmoe_gearbox #(
      .FROM(WORD),
      .TO  (PORT_BITS)
  ) i_beats (
      .clk,
      .rst_n,
      .clear(fin),
      .s_valid(state == PUSH),
      .s_ready(word_ready),
      .s_data(word),
      .m_valid(box_valid),
      .m_ready(sent),
      .m_data(s_data)
  );

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      state  <= IDLE;
      result <= '0;
    end else begin
      case (state)
        IDLE: if (go_valid) state <= (go_n_out == '0) ? DONE : ASK;
        ASK: if (c_ready) state <= READ;
        READ: if (r_ready) state <= TAKE;
        TAKE: if (d_valid) state <= PUSH;
        PUSH:
        if (last) state <= RESPOND;
        else if (word_ready & (values != '0)) state <= READ;
        RESPOND: if (response) state <= DONE;
        default: state <= IDLE;
      endcase
      if (run_start) result <= results;
      else if (image_done) result <= result + 64'(logit_bytes);
    end
  end

  always_ff @(posedge clk) begin
    if (go_ready) begin
      from_res   <= go_res;
      ends_image <= go_last;
      values     <= go_n_out;
      beats      <= (go_n_out + 32'(PORT_BITS / 16 - 1)) >> BEAT_BITS;
      r_addr     <= go_src;
      c_addr     <= result + 64'(go_offset);
    end else begin
      if ((state == READ) & r_ready) r_addr <= r_addr + 1'b1;
      if ((state == TAKE) & d_valid) begin
        values <= full ? values - 32'(LANES) : '0;
        word   <= kept;
      end else if ((state == PUSH) & word_ready) begin
        word <= '0;
      end
      if (sent) beats <= beats - 1'b1;
    end
  end
endmodule
