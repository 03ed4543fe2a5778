// What the machine reports of its run, counted: totals and counts of engines in `counters`, and the
// values that every step clipped, a word at a time.
//   ev_*      engine e in slice e: state, and pulses of completed instructions with what they
//             clipped
//   counters  words from cycles (0x210) on: 12, and 8 for each engine
module hwmoe_control_events #(
    parameter int ENGINES = 5,
    parameter int STEPS = 1024,
    parameter logic [31:0] FORMAT_VERSION = 0,
    parameter logic [31:0] DIGEST = 0
) (
    input  logic          clk,
    input  logic          rst_n,
    input  logic          prepare,
    input  logic          busy,
    input  logic          image_done,
    input  logic [2*ENGINES-1:0] ev_state,
    input  logic [ENGINES-1:0] ev_done,
    input  logic [16*ENGINES-1:0] ev_done_step,
    input  logic [32*ENGINES-1:0] ev_done_clipped,
    output logic          counted,
    output logic [256*ENGINES+383:0] counters,
    input  logic          step_read,
    input  logic [  13:0] step_addr,
    output logic          step_got,
    output logic [  31:0] step_data
);
  logic [2*ENGINES-1:0] state;
  logic [ENGINES-1:0] done;
  logic [16*ENGINES-1:0] done_step;
  logic [32*ENGINES-1:0] done_clipped;
  logic one_image;
  logic [63:0] cycles;
  logic [31:0] images;
  logic [160*ENGINES-1:0] engines;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      done      <= '0;
      one_image <= 1'b0;
    end else begin
      done      <= ev_done;
      one_image <= image_done;
    end
  end

  always_ff @(posedge clk) begin
    state        <= ev_state;
    done_step    <= ev_done_step;
    done_clipped <= ev_done_clipped;
  end

  hwmoe_control_counters #(
      .ENGINES(ENGINES)
  ) i_counters (
      .clk,
      .rst_n,
      .prepare,
      .busy,
      .image_done(one_image),
      .state,
      .done_valid(done),
      .done_clipped,
      .cycles,
      .images,
      .engines
  );

  hwmoe_control_steps #(
      .ENGINES(ENGINES),
      .STEPS(STEPS)
  ) i_steps (
      .clk,
      .rst_n,
      .prepare,
      .d_valid(done),
      .d_step(done_step),
      .d_clipped(done_clipped),
      .counted,
      .r_valid(step_read),
      .r_addr(step_addr),
      .r_done(step_got),
      .r_data(step_data)
  );

  assign counters[383:0] = {224'b0, DIGEST, FORMAT_VERSION, images, cycles};
  generate
    for (genvar e = 0; e < ENGINES; e++) begin : g_engine
      assign counters[384+256*e+:256] = {96'b0, engines[160*e+:160]};
    end
  endgenerate
endmodule
