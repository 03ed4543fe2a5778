// T_OUT int8 dot products of T_IN inputs, weight-stationary: y[o] = sum_i w[o][i] * x[i], two
// products a DSP48E2. Ports as hwmoe_mac_tile; later by a few cycles, and one rule more.
//
// PRIMITIVE = 1 instantiates the primitives (hwmoe_dot_cascade), 0 computes the same in the same
// cycles as plain sums (hwmoe_dot_twin): the default of simulation. docs/dsp.md says what is proven.
//
// Weights, in [-127, 127], are double-buffered. `load[o]` puts row o % SLOTS of `rows` into the
// shadow weights of channel o; `swap` makes the shadow weights active from the x of its own cycle
// on. Taps swap one after the other, so no load may come in the cycle of a swap or in the K-1
// cycles after it (K = 16 at most); swaps may follow one another at any distance. SLOTS <= T_OUT.
// Every cycle takes an x and gives a y, LATENCY = K + 4 + clog2(CHAINS) cycles later, with
// CHAINS = ceil(T_IN / 16) and K = ceil(T_IN / CHAINS). No reset.
module hwmoe_dot_pairs #(
    parameter int T_IN = 16,
    parameter int T_OUT = 16,
    parameter int SLOTS = 4,
`ifdef SYNTHESIS
    parameter bit PRIMITIVE = 1,
`else
    parameter bit PRIMITIVE = 0,
`endif
    parameter int SUM_W = 16 + $clog2(T_IN)
) (
    input  logic                    clk,
    input  logic [       T_OUT-1:0] load,
    input  logic [8*T_IN*SLOTS-1:0] rows,
    input  logic                    swap,
    input  logic [      8*T_IN-1:0] x,
    output logic [ T_OUT*SUM_W-1:0] y
);
  localparam int PAIRS = (T_OUT + 1) / 2;
  localparam int CHAINS = (T_IN + 15) / 16;
  localparam int K = (T_IN + CHAINS - 1) / CHAINS;

  logic [8*T_IN*SLOTS-1:0] rows_q;
  logic [     2*PAIRS-1:0] load_q;  // one of no channel if T_OUT is odd
  /* verilator lint_off UNUSEDSIGNAL */
  logic [2*PAIRS*SUM_W-1:0] sums;
  /* verilator lint_on UNUSEDSIGNAL */

  assign y = sums[T_OUT*SUM_W-1:0];

  always_ff @(posedge clk) begin
    rows_q <= rows;
    load_q <= (2 * PAIRS)'(load);
  end

  generate
    if (PRIMITIVE) begin : g_primitives
      logic [     K-1:0] swap_skewed;
      logic [8*T_IN-1:0] x_skewed;

      hwmoe_dot_skew #(
          .T_IN(T_IN)
      ) i_skew (
          .clk,
          .swap,
          .x,
          .swap_skewed,
          .x_skewed
      );

      for (genvar p = 0; p < PAIRS; p++) begin : g_pair
        hwmoe_dot_cascade #(
            .T_IN(T_IN)
        ) i_cascade (
            .clk,
            .load(load_q[2*p+:2]),
            .rows({
              rows_q[8*T_IN*((2*p+1)%SLOTS)+:8*T_IN], rows_q[8*T_IN*(2*p%SLOTS)+:8*T_IN]
            }),
            .swap(swap_skewed),
            .x(x_skewed),
            .y(sums[2*SUM_W*p+:2*SUM_W])
        );
      end
    end else begin : g_twin
      // x waits in front of the sums, where it is narrow: as long as the next load lets the swap.
      logic [         K:0] swaps;
      logic [8*T_IN*(K+2)-1:0] line;

      always_ff @(posedge clk) begin
        swaps <= (K + 1)'({swaps, swap});
        line  <= (8 * T_IN * (K + 2))'({line, x});
      end

      for (genvar p = 0; p < PAIRS; p++) begin : g_pair
        hwmoe_dot_twin #(
            .T_IN (T_IN),
            .DEPTH(2 + $clog2(CHAINS))
        ) i_twin (
            .clk,
            .load(load_q[2*p+:2]),
            .rows({
              rows_q[8*T_IN*((2*p+1)%SLOTS)+:8*T_IN], rows_q[8*T_IN*(2*p%SLOTS)+:8*T_IN]
            }),
            .swap(swaps[K]),
            .x(line[8*T_IN*(K+2)-1-:8*T_IN]),
            .y(sums[2*SUM_W*p+:2*SUM_W])
        );
      end
    end
  endgenerate

`ifndef SYNTHESIS
  /* verilator lint_off PROCASSINIT */
  logic [K-1:0] recent = '0;  // swaps of the K cycles before
  /* verilator lint_on PROCASSINIT */
  int forbidden;

  /* verilator lint_off BLKSEQ */  // forbidden is a loop's counter
  always_ff @(posedge clk) begin
    recent <= K'({recent, swap});
    if (load != 0) begin
      forbidden = 0;
      for (int o = 0; o < T_OUT; o++) begin
        if (load[o]) begin
          for (int i = 0; i < T_IN; i++) begin
            if (rows[8*(T_IN*(o%SLOTS)+i)+:8] == 8'h80) forbidden++;
          end
        end
      end
      assert (K'({recent, swap}) == 0) else $error("a load within K cycles of a swap");
      assert (forbidden == 0) else $error("a weight of -128");
    end
  end
  /* verilator lint_on BLKSEQ */
`endif
endmodule
