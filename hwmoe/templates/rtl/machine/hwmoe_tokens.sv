// Counters of tokens, 8 bits for every ordered pair of the five engines: bit and byte 5*from + to.
// `load` sets all of them. `signal` adds one, `pop` takes one; what is popped must be `avail`.
// A signal to a counter at 255 that is not popped in the same cycle is lost, and `overflow` pulses.
module hwmoe_tokens (
    input  logic         clk,
    input  logic         rst_n,
    input  logic         load,
    input  logic [199:0] initial_counts,
    input  logic [ 24:0] signal,
    input  logic [ 24:0] pop,
    output logic [ 24:0] avail,
    output logic         overflow
);
  logic [199:0] counts;
  logic [ 24:0] lost;

  generate
    for (genvar p = 0; p < 25; p++) begin : g_pair
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
