// Front of an engine that does one instruction at a time: waits until the tokens of the
// instruction at the head of the queue are there, takes them all in one cycle, offers the
// instruction to the core (unless it is null) and, when the core has finished, reports and signals.
//   core: takes the instruction with go_valid & go_ready; go_instr is stable until `fin`, a pulse
//   in a later cycle, with the number of clipped values.
//   state: 0 nothing to do, 1 waiting for tokens, 2 running, 3 running, held up by memory.
module hwmoe_issue #(
    parameter int ENGINES    = 5,
    parameter int WAIT_LSB   = 16,
    parameter int SIGNAL_LSB = 24
) (
    input  logic         clk,
    input  logic         rst_n,
    input  logic         i_valid,
    output logic         i_ready,
    input  logic         i_null,
    input  logic [ 15:0] i_step,
    input  logic [511:0] i_instr,
    input  logic [ENGINES-1:0] tok_avail,
    output logic [ENGINES-1:0] tok_pop,
    output logic         start_valid,
    output logic [ 15:0] start_step,
    output logic         done_valid,
    output logic [ 15:0] done_step,
    output logic [ENGINES-1:0] done_signal,
    output logic [ 31:0] done_clipped,
    output logic         done_null,
    output logic [  1:0] state,
    output logic         go_valid,
    input  logic         go_ready,
    output logic [511:0] go_instr,
    input  logic         fin,
    input  logic [ 31:0] fin_clipped,
    input  logic         core_stalled
);
  logic       running;  // the tokens of the head are taken
  logic [ENGINES-1:0] wanted;
  logic       begins;

  assign wanted   = i_instr[WAIT_LSB+:ENGINES];
  assign begins   = i_valid & ~running & ((wanted & ~tok_avail) == '0);
  assign tok_pop  = begins ? wanted : '0;
  assign i_ready  = running ? fin : begins & i_null;
  assign go_instr = i_instr;

  assign start_valid = begins & ~i_null;
  assign start_step  = i_step;

  always_comb begin
    if (running) state = {1'b1, core_stalled};
    else if (begins) state = 2'd2;
    else state = {1'b0, i_valid};
  end

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      running    <= 1'b0;
      go_valid   <= 1'b0;
      done_valid <= 1'b0;
    end else begin
      running    <= running ? ~fin : start_valid;
      go_valid   <= start_valid | (go_valid & ~go_ready);
      done_valid <= i_ready;
    end
  end

  always_ff @(posedge clk) begin
    done_step    <= i_step;
    done_signal  <= i_instr[SIGNAL_LSB+:ENGINES];
    done_clipped <= running ? fin_clipped : '0;
    done_null    <= ~running;
  end
endmodule
