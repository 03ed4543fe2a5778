// The DSP48E2 of AMD's UltraScale+, for simulation: the modes that hwmoe_dot_cascade uses and no
// other. Names of ports and parameters, and what they do, are those of UG974 and UG579; anything
// set otherwise ends the simulation. Synthesis takes the real primitive: never give it this file.
//
//   A2, D:  weights, one clock enable each (CEA2, CED)       AD = A2 + D, 27 bits, by CEAD
//   B1, B2: the other factor                                 M = AD * B2
//   P = M + RND (OPMODE 9'b100000101) or M + PCIN (OPMODE 9'b000010101)
//
// All registers start at 0, as in a configured device. P follows B by four cycles.
// verilator lint_off DECLFILENAME
// verilator lint_off UNUSEDSIGNAL
// verilator lint_off UNUSEDPARAM
module DSP48E2 #(
    parameter int          ACASCREG = 1,
    parameter int          ADREG = 1,
    parameter int          ALUMODEREG = 1,
    parameter string       AMULTSEL = "A",
    parameter int          AREG = 1,
    parameter string       AUTORESET_PATDET = "NO_RESET",
    parameter string       AUTORESET_PRIORITY = "RESET",
    parameter string       A_INPUT = "DIRECT",
    parameter int          BCASCREG = 1,
    parameter string       BMULTSEL = "B",
    parameter int          BREG = 1,
    parameter string       B_INPUT = "DIRECT",
    parameter int          CARRYINREG = 1,
    parameter int          CARRYINSELREG = 1,
    parameter int          CREG = 1,
    parameter int          DREG = 1,
    parameter int          INMODEREG = 1,
    parameter logic [ 3:0] IS_ALUMODE_INVERTED = '0,
    parameter logic        IS_CARRYIN_INVERTED = '0,
    parameter logic        IS_CLK_INVERTED = '0,
    parameter logic [ 4:0] IS_INMODE_INVERTED = '0,
    parameter logic [ 8:0] IS_OPMODE_INVERTED = '0,
    parameter logic        IS_RSTALLCARRYIN_INVERTED = '0,
    parameter logic        IS_RSTALUMODE_INVERTED = '0,
    parameter logic        IS_RSTA_INVERTED = '0,
    parameter logic        IS_RSTB_INVERTED = '0,
    parameter logic        IS_RSTCTRL_INVERTED = '0,
    parameter logic        IS_RSTC_INVERTED = '0,
    parameter logic        IS_RSTD_INVERTED = '0,
    parameter logic        IS_RSTINMODE_INVERTED = '0,
    parameter logic        IS_RSTM_INVERTED = '0,
    parameter logic        IS_RSTP_INVERTED = '0,
    parameter logic [47:0] MASK = 48'h3FFFFFFFFFFF,
    parameter int          MREG = 1,
    parameter int          OPMODEREG = 1,
    parameter logic [47:0] PATTERN = '0,
    parameter string       PREADDINSEL = "A",
    parameter int          PREG = 1,
    parameter logic [47:0] RND = '0,
    parameter string       SEL_MASK = "MASK",
    parameter string       SEL_PATTERN = "PATTERN",
    parameter string       USE_MULT = "MULTIPLY",
    parameter string       USE_PATTERN_DETECT = "NO_PATDET",
    parameter string       USE_SIMD = "ONE48",
    parameter string       USE_WIDEXOR = "FALSE",
    parameter string       XORSIMD = "XOR24_48_96"
) (
    output logic [29:0] ACOUT,
    output logic [17:0] BCOUT,
    output logic        CARRYCASCOUT,
    output logic [ 3:0] CARRYOUT,
    output logic        MULTSIGNOUT,
    output logic        OVERFLOW,
    output logic [47:0] P,
    output logic        PATTERNBDETECT,
    output logic        PATTERNDETECT,
    output logic [47:0] PCOUT,
    output logic        UNDERFLOW,
    output logic [ 7:0] XOROUT,
    input  logic [29:0] A,
    input  logic [29:0] ACIN,
    input  logic [ 3:0] ALUMODE,
    input  logic [17:0] B,
    input  logic [17:0] BCIN,
    input  logic [47:0] C,
    input  logic        CARRYCASCIN,
    input  logic        CARRYIN,
    input  logic [ 2:0] CARRYINSEL,
    input  logic        CEA1,
    input  logic        CEA2,
    input  logic        CEAD,
    input  logic        CEALUMODE,
    input  logic        CEB1,
    input  logic        CEB2,
    input  logic        CEC,
    input  logic        CECARRYIN,
    input  logic        CECTRL,
    input  logic        CED,
    input  logic        CEINMODE,
    input  logic        CEM,
    input  logic        CEP,
    input  logic        CLK,
    input  logic [26:0] D,
    input  logic [ 4:0] INMODE,
    input  logic        MULTSIGNIN,
    input  logic [ 8:0] OPMODE,
    input  logic [47:0] PCIN,
    input  logic        RSTA,
    input  logic        RSTALLCARRYIN,
    input  logic        RSTALUMODE,
    input  logic        RSTB,
    input  logic        RSTC,
    input  logic        RSTCTRL,
    input  logic        RSTD,
    input  logic        RSTINMODE,
    input  logic        RSTM,
    input  logic        RSTP
);
  localparam logic [8:0] M_PLUS_RND = 9'b100000101;  // W = RND, Z = 0, X and Y = M
  localparam logic [8:0] M_PLUS_PCIN = 9'b000010101;  // W = 0, Z = PCIN, X and Y = M
  localparam logic [4:0] A2_PLUS_D = 5'b00100;  // B2 is the other factor

  // All registers of the data path, none before the controls.
  localparam bit REGISTERS_OK = AREG == 1 && DREG == 1 && ADREG == 1 && BREG == 2 && MREG == 1 &&
      PREG == 1 && ALUMODEREG == 0 && CARRYINREG == 0 && CARRYINSELREG == 0 && INMODEREG == 0 &&
      OPMODEREG == 0 && ACASCREG == 1 && (BCASCREG == 1 || BCASCREG == 2);
  localparam bit FACTORS_OK = A_INPUT == "DIRECT" && B_INPUT == "DIRECT" && AMULTSEL == "AD" &&
      BMULTSEL == "B" && PREADDINSEL == "A";
  localparam bit USE_OK = USE_MULT == "MULTIPLY" && USE_SIMD == "ONE48" &&
      USE_WIDEXOR == "FALSE" && USE_PATTERN_DETECT == "NO_PATDET" &&
      AUTORESET_PATDET == "NO_RESET";
  localparam bit INVERTED = IS_ALUMODE_INVERTED != 0 || IS_INMODE_INVERTED != 0 ||
      IS_OPMODE_INVERTED != 0 || IS_CARRYIN_INVERTED || IS_CLK_INVERTED ||
      IS_RSTALLCARRYIN_INVERTED || IS_RSTALUMODE_INVERTED || IS_RSTA_INVERTED ||
      IS_RSTB_INVERTED || IS_RSTCTRL_INVERTED || IS_RSTC_INVERTED || IS_RSTD_INVERTED ||
      IS_RSTINMODE_INVERTED || IS_RSTM_INVERTED || IS_RSTP_INVERTED;

  // verilator lint_off PROCASSINIT
  logic signed [26:0] a2 = '0;
  logic signed [26:0] d = '0;
  logic signed [26:0] ad = '0;
  logic signed [17:0] b1 = '0;
  logic signed [17:0] b2 = '0;
  logic signed [44:0] m = '0;
  logic        [47:0] p = '0;
  // verilator lint_on PROCASSINIT

  always_ff @(posedge CLK) begin
    if (CEA2) a2 <= A[26:0];
    if (CED) d <= D;
    if (CEAD) ad <= a2 + d;  // wraps: the pre-adder does not saturate
    if (CEB1) b1 <= B;
    if (CEB2) b2 <= b1;
    if (CEM) m <= 45'(ad) * 45'(b2);
    if (CEP) p <= 48'(m) + (OPMODE == M_PLUS_RND ? RND : PCIN);

    // At the clock, not in `initial`: a test can then try many of them in one simulation.
    if (!REGISTERS_OK) $fatal(1, "DSP48E2 model: pipeline registers");
    if (!FACTORS_OK) $fatal(1, "DSP48E2 model: factors other than A + D and B");
    if (!USE_OK) $fatal(1, "DSP48E2 model: another use than multiply and add");
    if (INVERTED) $fatal(1, "DSP48E2 model: inverted inputs");
    if (OPMODE != M_PLUS_RND && OPMODE != M_PLUS_PCIN) $fatal(1, "DSP48E2 model: OPMODE");
    if (INMODE != A2_PLUS_D) $fatal(1, "DSP48E2 model: INMODE");
    if (ALUMODE != 0 || CARRYIN || CARRYINSEL != 0) $fatal(1, "DSP48E2 model: not a plain sum");
    if (RSTA || RSTALLCARRYIN || RSTALUMODE || RSTB || RSTC || RSTCTRL || RSTD || RSTINMODE ||
        RSTM || RSTP)
      $fatal(1, "DSP48E2 model: reset");
  end

  assign P = p;
  assign PCOUT = p;
  // Not modelled.
  assign ACOUT = '0;
  assign BCOUT = '0;
  assign CARRYCASCOUT = '0;
  assign CARRYOUT = '0;
  assign MULTSIGNOUT = '0;
  assign OVERFLOW = '0;
  assign PATTERNBDETECT = '0;
  assign PATTERNDETECT = '0;
  assign UNDERFLOW = '0;
  assign XOROUT = '0;
endmodule
// verilator lint_on UNUSEDPARAM
// verilator lint_on UNUSEDSIGNAL
// verilator lint_on DECLFILENAME
