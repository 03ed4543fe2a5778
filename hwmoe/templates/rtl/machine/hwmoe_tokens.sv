// Counters of tokens, 8 bits for every ordered pair of engines: bit and byte ENGINES*from + to.
// `load` sets all of them. `signal` adds one, `pop` takes one; what is popped must be `avail`.
// A signal to a counter at 255 that is not popped in the same cycle is lost, and `overflow` pulses.
module hwmoe_tokens #(
    parameter int ENGINES = 5,
    parameter int PAIRS = ENGINES * ENGINES
) (
    input  logic         clk,
    input  logic         rst_n,
    input  logic         load,
    input  logic [8*PAIRS-1:0] initial_counts,
    input  logic [PAIRS-1:0] signal,
    input  logic [PAIRS-1:0] pop,
    output logic [PAIRS-1:0] avail,
    output logic         overflow
);
  logic [8*PAIRS-1:0] counts;
  logic [PAIRS-1:0] lost;

  generate
    for (genvar p = 0; p < PAIRS; p++) begin : g_pair
      assign avail[p] = counts[8*p+:8] != 8'd0;
      assign lost[p]  = signal[p] & ~pop[p] & (counts[8*p+:8] == 8'd255);

      always_ff @(posedge clk) begin
        if (!rst_n) counts[8*p+:8] <= 8'd0;
        else if (load) counts[8*p+:8] <= initial_counts[8*p+:8];
        else if (signal[p] & ~pop[p] & ~lost[p]) counts[8*p+:8] <= counts[8*p+:8] + 8'd1;
        else if (pop[p] & ~signal[p]) counts[8*p+:8] <= counts[8*p+:8] - 8'd1;
      end
    end
  endgenerate

  always_ff @(posedge clk) begin
    if (!rst_n) overflow <= 1'b0;
    else overflow <= lost != '0;
  end
endmodule
