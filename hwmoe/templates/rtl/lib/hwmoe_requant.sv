// Rescaling with saturation: clip((acc * mult + 2^(s-1)) >> s), s = 9, 14, 19 or 24, to int8 or,
// if wide, to int16. One result a cycle, LATENCY = 5 cycles; no reset, no enable, no valid: the
// caller delays its own flags. `mult` is signed 18 bits. `shift` and `wide` are sampled with `acc`.
// `result` is sign-extended; `clipped` tells that saturation changed the value.
module hwmoe_requant (
    input  logic               clk,
    input  logic signed [26:0] acc,
    input  logic signed [17:0] mult,
    input  logic        [ 1:0] shift,
    input  logic               wide,
    output logic signed [15:0] result,
    output logic               clipped
);
  logic signed [26:0] a_1;
  logic signed [17:0] m_1;
  logic        [ 1:0] shift_1, shift_2, shift_3;
  logic               wide_1, wide_2, wide_3, wide_4;
  logic signed [44:0] product_2;
  logic        [23:0] half_2;
  /* verilator lint_off UNUSEDSIGNAL */  // the low 9 bits only carry
  logic signed [44:0] rounded_3;
  /* verilator lint_on UNUSEDSIGNAL */
  logic signed [35:0] shifted_4;
  logic               fits8_4;
  logic               fits16_4;

  // Saturation does not change a value whose upper bits all equal its sign.
  assign fits8_4  = (&shifted_4[35:7]) | ~(|shifted_4[35:7]);
  assign fits16_4 = (&shifted_4[35:15]) | ~(|shifted_4[35:15]);

  always_ff @(posedge clk) begin
    a_1     <= acc;
    m_1     <= mult;
    shift_1 <= shift;
    wide_1  <= wide;

    product_2 <= a_1 * m_1;
    half_2    <= {shift_1 == 2'd3, 4'b0, shift_1 == 2'd2, 4'b0, shift_1 == 2'd1, 4'b0,
                  shift_1 == 2'd0, 8'b0};
    shift_2   <= shift_1;
    wide_2    <= wide_1;

    rounded_3 <= product_2 + $signed({21'b0, half_2});
    shift_3   <= shift_2;
    wide_3    <= wide_2;

    unique case (shift_3)
      2'd0: shifted_4 <= rounded_3[44:9];
      2'd1: shifted_4 <= {{5{rounded_3[44]}}, rounded_3[44:14]};
      2'd2: shifted_4 <= {{10{rounded_3[44]}}, rounded_3[44:19]};
      2'd3: shifted_4 <= {{15{rounded_3[44]}}, rounded_3[44:24]};
    endcase
    wide_4 <= wide_3;

    clipped <= wide_4 ? ~fits16_4 : ~fits8_4;
    if (wide_4 ? fits16_4 : fits8_4) result <= shifted_4[15:0];
    else if (wide_4) result <= {shifted_4[35], {15{~shifted_4[35]}}};
    else result <= {{9{shifted_4[35]}}, {7{~shifted_4[35]}}};
  end
endmodule
