// Writes the kernel's results and finishes instructions in order. Beat (c, j), chunk-major, goes to
// part c % PARTS of word dst + (c / PARTS) * n_list + j of memory `space` (one-hot in `wr_valid`);
// with the last chunk the parts above become zero. An instruction that the kernel computes (`used`)
// is done when its status has come and its last word was accepted; any other one when it is next.
module hwmoe_linear_collect #(
    parameter int ENGINES = 5,
    parameter int PARTS = 2,
    parameter int T_EPI = 8,
    parameter int QUEUE = 8
) (
    input  logic                      clk,
    input  logic                      rst_n,
    input  logic                      s_valid,
    output logic                      s_ready,
    input  logic                      s_null,
    input  logic                      s_used,
    input  logic [              15:0] s_step,
    input  logic [ENGINES-1:0] s_signal,
    input  logic [               1:0] s_space,
    input  logic [              15:0] s_dst,
    input  logic [              15:0] s_n_list,
    input  logic [              15:0] s_chunks,
    input  logic                      y_valid,
    output logic                      y_ready,
    input  logic [      16*T_EPI-1:0] y_data,
    input  logic                      status_valid,
    output logic                      status_ready,
    input  logic [              31:0] status_data,
    output logic [               2:0] wr_valid,
    input  logic [               2:0] wr_ready,
    output logic [              15:0] wr_addr,
    output logic [         PARTS-1:0] wr_mask,
    output logic [16*T_EPI*PARTS-1:0] wr_data,
    output logic                      done_valid,
    output logic [              15:0] done_step,
    output logic [ENGINES-1:0] done_signal,
    output logic [              31:0] done_clipped,
    output logic                      done_null,
    output logic [               7:0] completed,
    output logic                      busy
);
  localparam logic [1:0] IDLE = 2'd0;
  localparam logic [1:0] WRITE = 2'd1;
  localparam logic [1:0] STATUS = 2'd2;
  localparam logic [1:0] FINISH = 2'd3;

  logic               next_valid;
  logic               next_null;
  logic               next_used;
  logic [       15:0] next_step;
  logic [ENGINES-1:0] next_signal;
  logic [        1:0] next_space;
  logic [       15:0] next_dst;
  logic [       15:0] next_n_list;
  logic [       15:0] next_chunks;

  logic [        1:0] state;
  logic [        2:0] target;
  logic [       15:0] listed;
  logic [       15:0] tok_left;
  logic [       15:0] chunks_left;
  logic [       15:0] column;  // first word of the present chunk
  logic [       15:0] addr;
  logic [  PARTS-1:0] part;
  logic [  PARTS-1:0] above;  // parts from this one up
  logic               move;
  logic               take;
  logic               last_tok;
  logic               last_chunk;
  logic               free;
  logic               beat_valid;
  logic               beat_ready;
  logic [16*T_EPI-1:0] beat;

  hwmoe_fifo #(
      .W(68 + ENGINES),
      .DEPTH(QUEUE)
  ) i_commands (
      .clk,
      .rst_n,
      .s_valid,
      .s_ready,
      .s_data({s_null, s_used, s_step, s_signal, s_space, s_dst, s_n_list, s_chunks}),
      .m_valid(next_valid),
      .m_ready(state == IDLE),
      .m_data({
        next_null, next_used, next_step, next_signal, next_space, next_dst, next_n_list, next_chunks
      })
  );

  hwmoe_skid #(
      .W(16 * T_EPI)
  ) i_beats (
      .clk,
      .rst_n,
      .s_valid(y_valid),
      .s_ready(y_ready),
      .s_data(y_data),
      .m_valid(beat_valid),
      .m_ready(beat_ready),
      .m_data(beat)
  );

  assign busy         = next_valid | (state != IDLE);
  assign free         = (wr_valid & ~wr_ready) == '0;
  assign beat_ready   = (state == WRITE) & free;
  assign take         = beat_valid & beat_ready;
  assign last_tok     = tok_left == 16'd1;
  assign last_chunk   = chunks_left == 16'd1;
  assign move         = take & last_tok;
  assign status_ready = state == STATUS;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      state      <= IDLE;
      wr_valid   <= '0;
      done_valid <= 1'b0;
      completed  <= '0;
    end else begin
      unique case (state)
        IDLE: begin
          if (next_valid) begin
            if (~next_used) state <= FINISH;
            else state <= ((next_n_list != '0) & (next_chunks != '0)) ? WRITE : STATUS;
          end
        end
        WRITE: if (move & last_chunk) state <= STATUS;
        STATUS: if (status_valid) state <= FINISH;
        default: if (wr_valid == '0) state <= IDLE;
      endcase
      if (free) wr_valid <= take ? target : '0;
      done_valid <= (state == FINISH) & (wr_valid == '0);
      if (done_valid) completed <= completed + 1'b1;
    end
  end

  always_ff @(posedge clk) begin
    if (state == IDLE) begin
      done_step    <= next_step;
      done_signal  <= next_signal;
      done_null    <= next_null;
      done_clipped <= '0;
      target       <= {next_space == 2'd2, next_space == 2'd1, next_space == 2'd0};
      listed       <= next_n_list;
      tok_left     <= next_n_list;
      chunks_left  <= next_chunks;
      column       <= next_dst;
      addr         <= next_dst;
      part         <= PARTS'(1);
    end else if (take) begin
      if (last_tok) begin
        tok_left    <= listed;
        chunks_left <= chunks_left - 1'b1;
        part        <= PARTS'({part, part[PARTS-1]});
        addr        <= part[PARTS-1] ? addr + 1'b1 : column;
        if (part[PARTS-1]) column <= addr + 1'b1;
      end else begin
        tok_left <= tok_left - 1'b1;
        addr     <= addr + 1'b1;
      end
    end
    if (status_valid & status_ready) done_clipped <= status_data;
  end

  always_comb begin
    above = part;
    for (int p = 1; p < PARTS; p++) above[p] = above[p] | above[p-1];
  end

  always_ff @(posedge clk) begin
    if (free) begin
      wr_addr <= addr;
      wr_mask <= last_chunk ? above : part;
      for (int p = 0; p < PARTS; p++) begin
        wr_data[16*T_EPI*p+:16*T_EPI] <= (last_chunk & ~part[p]) ? '0 : beat;
      end
    end
  end
endmodule
