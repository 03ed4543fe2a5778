// Values clipped by every step of the program, STEPS words of 32 bits in a RAM, modulo 2^32. Every
// engine has a queue of QUEUE events; one is added in three cycles. `prepare` starts a sweep
// that clears a word a cycle; until it has passed a word, reads give 0 and events wait.
//   d_*       instructions completed: engine e in slice e. Above STEPS and 0 clipped are ignored
//   r_valid   pulse: word r_addr is wanted; r_done with r_data follows
//   counted   no event is under way
module hwmoe_control_steps #(
    parameter int ENGINES = 5,
    parameter int STEPS = 1024,
    parameter int QUEUE = 8
) (
    input  logic         clk,
    input  logic         rst_n,
    input  logic         prepare,
    input  logic [ENGINES-1:0] d_valid,
    input  logic [16*ENGINES-1:0] d_step,
    input  logic [32*ENGINES-1:0] d_clipped,
    output logic         counted,
    input  logic         r_valid,
    input  logic [ 13:0] r_addr,
    output logic         r_done,
    output logic [ 31:0] r_data
);
  localparam int AW = (STEPS > 1) ? $clog2(STEPS) : 1;
  localparam int JOB = AW + 32;

  typedef enum logic [1:0] {
    READY,
    ADD,
    WRITE,
    ANSWER
  } state_t;
  state_t state;

  logic [14:0] swept;  // words below are cleared
  logic sweeps, writes;
  logic [ENGINES-1:0] waiting, turn;
  logic [ENGINES*JOB-1:0] heads;
  logic [JOB-1:0] next_job;
  logic job_valid, job_load, job_known;
  logic [AW-1:0] job_step, sum_step;
  logic [31:0] job_clipped, sum, read_data;
  logic asked, ask_known;

  // Events, a queue for each engine, one at a time in turn
  generate
    for (genvar e = 0; e < ENGINES; e++) begin : g_engine
      logic counts;
      assign counts = d_valid[e] & (d_clipped[32*e+:32] != '0) & (32'(d_step[16*e+:16]) < STEPS);

      /* verilator lint_off PINCONNECTEMPTY */  // engines are slower
      hwmoe_fifo #(
          .W(JOB),
          .DEPTH(QUEUE)
      ) i_queue (
          .clk,
          .rst_n,
          .s_valid(counts),
          .s_ready(),
          .s_data ({d_step[16*e+:AW], d_clipped[32*e+:32]}),
          .m_valid(waiting[e]),
          .m_ready(turn[e]),
          .m_data (heads[JOB*e+:JOB])
      );
      /* verilator lint_on PINCONNECTEMPTY */
    end
  endgenerate

  assign job_load = ~job_valid | (state == ADD);

  hwmoe_round_robin #(
      .N(ENGINES)
  ) i_turn (
      .clk,
      .rst_n,
      .request(waiting & {ENGINES{job_load}}),
      .grant  (turn)
  );

  always_comb begin
    next_job = '0;
    for (int e = 0; e < ENGINES; e++) begin
      if (turn[e]) next_job |= heads[JOB*e+:JOB];
    end
  end

  always_ff @(posedge clk) begin
    if (!rst_n) job_valid <= 1'b0;
    else if (job_load) job_valid <= turn != '0;
  end

  always_ff @(posedge clk) begin
    if (job_load) {job_step, job_clipped} <= next_job;
  end

  // The RAM: a read of the host, or a job in three cycles
  assign job_known = job_valid & (15'(job_step) < swept);
  assign writes    = state == WRITE;
  assign sweeps    = (swept != 15'(STEPS)) & ~writes;
  assign r_done    = state == ANSWER;
  assign r_data    = ask_known ? read_data : '0;

  hwmoe_ram_sdp #(
      .W(32),
      .DEPTH(STEPS)
  ) i_ram (
      .clk,
      .we(writes | sweeps),
      .waddr(writes ? sum_step : AW'(swept)),
      .wdata(writes ? sum : 32'd0),
      .re(state == READY),
      .raddr(asked ? AW'(r_addr) : job_step),
      .rdata(read_data)
  );

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      state   <= READY;
      asked   <= 1'b0;
      swept   <= '0;
      counted <= 1'b1;
    end else begin
      case (state)
        READY:
        if (asked) state <= ANSWER;
        else if (job_known) state <= ADD;
        ADD: state <= WRITE;
        default: state <= READY;
      endcase
      asked <= r_valid | (asked & (state != READY));
      if (prepare) swept <= '0;
      else if (sweeps) swept <= swept + 1'b1;
      counted <= (waiting == '0) & ~job_valid & (state != ADD) & ~writes;
    end
  end

  always_ff @(posedge clk) begin
    if (state == ADD) begin
      sum      <= read_data + job_clipped;
      sum_step <= job_step;
    end
    ask_known <= 15'(r_addr) < swept;
  end
endmodule
