// Two output channels on DSP48E2: y[c] = sum_i w[c][i] * x[i], two int8 products a primitive.
//
// A chain of K DSPs holds A = w[0] and D = w[1] * 2^SP, so AD * x carries both products and the
// chain both sums: P = y[1] * 2^SP + y[0] + 2^(SP-1). The constant is the RND of the first DSP; it
// keeps the low field from borrowing of the high one. So y[1] is the upper field as it stands and
// y[0] the lower one with its top bit inverted. Exact for w in [-127, 127], x in [-128, 127] and
// K <= 16 (docs/dsp.md). More than 16 inputs: CHAINS chains that end together, and an adder tree.
//
// All inputs come staggered (hwmoe_dot_skew, hwmoe_dot_pulse): what belongs to tap d of a chain is
// d cycles late, a swap one cycle behind its x. `load[K*c+d]` takes row c of `rows` into the shadow
// weights (registers A and D) and `swap[d]` makes them active (AD), in the taps of delay d.
// y follows x of tap 0 by LATENCY = K + 3 + clog2(CHAINS) cycles. No reset.
module hwmoe_dot_cascade #(
    parameter int T_IN = 16,
    parameter int CHAINS = (T_IN + 15) / 16,
    parameter int K = (T_IN + CHAINS - 1) / CHAINS,
    parameter int SUM_W = 16 + $clog2(T_IN)
) (
    input  logic                clk,
    input  logic [     2*K-1:0] load,
    input  logic [2*8*T_IN-1:0] rows,
    input  logic [       K-1:0] swap,
    input  logic [  8*T_IN-1:0] x,
    output logic [ 2*SUM_W-1:0] y
);
  localparam int SP = 19;
  localparam int LEAD = CHAINS * K - T_IN;  // taps that the last chain is shorter by
  localparam int TREE_W = SP + $clog2(CHAINS);

  logic [SP*CHAINS-1:0] low;
  logic [SP*CHAINS-1:0] high;
  /* verilator lint_off UNUSEDSIGNAL */  // fields may be wider than the sums in them
  logic [48*T_IN-1:0] cascade;  // P of every tap, on the dedicated wires
  logic [TREE_W-1:0] low_sum;
  logic [TREE_W-1:0] high_sum;
  /* verilator lint_on UNUSEDSIGNAL */

  generate
    for (genvar i = 0; i < T_IN; i++) begin : g_tap
      localparam bit FIRST = i % K == 0;
      localparam bit LAST = i % K == K - 1 || i == T_IN - 1;
      localparam int DELAY = i % K + (i / K == CHAINS - 1 ? LEAD : 0);

      logic [7:0] w_low;
      logic [7:0] w_high;
      logic [7:0] b;
      logic [47:0] above;
      /* verilator lint_off UNUSEDSIGNAL */  // read in the last tap
      logic [47:0] p;
      /* verilator lint_on UNUSEDSIGNAL */

      assign w_low  = rows[8*i+:8];
      assign w_high = rows[8*(T_IN+i)+:8];
      assign b = x[8*i+:8];

      if (FIRST) begin : g_first
        assign above = '0;
      end else begin : g_next
        assign above = cascade[48*(i-1)+:48];
      end
      if (LAST) begin : g_last
        assign low[SP*(i/K)+:SP] = {!p[SP-1], p[SP-2:0]};
        assign high[SP*(i/K)+:SP] = p[2*SP-1:SP];
      end

      /* verilator lint_off PINCONNECTEMPTY */
      DSP48E2 #(
          .ACASCREG(1),
          .ADREG(1),
          .ALUMODEREG(0),
          .AMULTSEL("AD"),
          .AREG(1),
          .BCASCREG(2),
          .BREG(2),
          .CARRYINREG(0),
          .CARRYINSELREG(0),
          .CREG(1),
          .DREG(1),
          .INMODEREG(0),
          .MREG(1),
          .OPMODEREG(0),
          .PREADDINSEL("A"),
          .PREG(1),
          .RND(48'd1 << (SP - 1)),
          .USE_MULT("MULTIPLY")
      ) i_dsp (
          .CLK(clk),
          .A({{22{w_low[7]}}, w_low}),
          .D(27'($signed(w_high)) << SP),
          .B({{10{b[7]}}, b}),
          .C('0),
          .PCIN(above),
          .P(p),
          .PCOUT(cascade[48*i+:48]),
          .INMODE(5'b00100),  // A2 + D, B2
          .OPMODE(FIRST ? 9'b100000101 : 9'b000010101),  // M + RND, M + PCIN
          .ALUMODE(4'b0000),
          .CARRYINSEL(3'b000),
          .CEA1(1'b0),
          .CEA2(load[DELAY]),
          .CED(load[K+DELAY]),
          .CEAD(swap[DELAY]),
          .CEB1(1'b1),
          .CEB2(1'b1),
          .CEM(1'b1),
          .CEP(1'b1),
          .CEC(1'b0),
          .CEALUMODE(1'b0),
          .CECARRYIN(1'b0),
          .CECTRL(1'b0),
          .CEINMODE(1'b0),
          .RSTA(1'b0),
          .RSTALLCARRYIN(1'b0),
          .RSTALUMODE(1'b0),
          .RSTB(1'b0),
          .RSTC(1'b0),
          .RSTCTRL(1'b0),
          .RSTD(1'b0),
          .RSTINMODE(1'b0),
          .RSTM(1'b0),
          .RSTP(1'b0),
          .ACIN('0),
          .BCIN('0),
          .CARRYCASCIN(1'b0),
          .CARRYIN(1'b0),
          .MULTSIGNIN(1'b0),
          .ACOUT(),
          .BCOUT(),
          .CARRYCASCOUT(),
          .CARRYOUT(),
          .MULTSIGNOUT(),
          .OVERFLOW(),
          .PATTERNBDETECT(),
          .PATTERNDETECT(),
          .UNDERFLOW(),
          .XOROUT()
      );
      /* verilator lint_on PINCONNECTEMPTY */

`ifndef SYNTHESIS
      always_ff @(posedge clk) begin
        assert (!(load[DELAY] && w_low == 8'h80) && !(load[K+DELAY] && w_high == 8'h80))
        else $error("a weight of -128");
      end
`endif
    end
  endgenerate

  hwmoe_adder_tree #(
      .N(CHAINS),
      .W(SP)
  ) i_low (
      .clk,
      .terms(low),
      .sum(low_sum)
  );

  hwmoe_adder_tree #(
      .N(CHAINS),
      .W(SP)
  ) i_high (
      .clk,
      .terms(high),
      .sum(high_sum)
  );

  assign y = {SUM_W'($signed(high_sum)), SUM_W'($signed(low_sum))};
endmodule
