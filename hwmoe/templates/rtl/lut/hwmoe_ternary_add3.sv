// sum = a + b + c + carries[0] + carries[1] of signed terms, all W bits wide: a LUT6_2 a bit. O6 is
// the sum of the bits and O5 their carry, which the bit above adds. Combinational.
module hwmoe_ternary_add3 #(
    parameter int W = 11
) (
    input  logic [W-1:0] a,
    input  logic [W-1:0] b,
    input  logic [W-1:0] c,
    input  logic [  1:0] carries,
    output logic [W-1:0] sum
);
  localparam int BLOCKS = (W + 7) / 8;

  logic [8*BLOCKS-1:0] below, add;  // below: the carry of the bit below, saved
  /* verilator lint_off UNUSEDSIGNAL */  // the rest of the last block, and the carry of the highest bit
  logic [8*BLOCKS-1:0] total, chain;
  logic [W:0] saved;
  /* verilator lint_on UNUSEDSIGNAL */

  assign saved[0] = carries[1];

  generate
    for (genvar i = 0; i < 8 * BLOCKS; i++) begin : g_bit
      if (i < W) begin : g_used
        assign below[i] = saved[i];

        LUT6_2 #(
            .INIT(64'h69966996E8E8E8E8)
        ) i_lut (
            .I0(a[i]),
            .I1(b[i]),
            .I2(c[i]),
            .I3(saved[i]),
            .I4(1'b0),
            .I5(1'b1),
            .O5(saved[i+1]),
            .O6(add[i])
        );
      end else begin : g_rest
        assign below[i] = 1'b0;
        assign add[i] = 1'b0;
      end
    end

    for (genvar k = 0; k < BLOCKS; k++) begin : g_carry
      logic into;
      if (k == 0) begin : g_first
        assign into = carries[0];
      end else begin : g_next
        assign into = chain[8*k-1];
      end

      CARRY8 #(
          .CARRY_TYPE("SINGLE_CY8")
      ) i_carry (
          .CI(into),
          .CI_TOP(1'b0),
          .DI(below[8*k+:8]),
          .S(add[8*k+:8]),
          .O(total[8*k+:8]),
          .CO(chain[8*k+:8])
      );
    end
  endgenerate

  assign sum = total[W-1:0];
endmodule
