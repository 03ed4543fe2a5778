// sum = the carry chain over W bits of LUT6_2 outputs: `s` (O6) propagates a carry, `d` (O5) is the
// one that is generated otherwise; `carry` enters at the lowest bit. CARRY8, whole blocks of eight.
// Combinational.
module hwmoe_ternary_carry #(
    parameter int W = 11
) (
    input  logic [W-1:0] d,
    input  logic [W-1:0] s,
    input  logic         carry,
    output logic [W-1:0] sum
);
  localparam int BLOCKS = (W + 7) / 8;

  logic [8*BLOCKS-1:0] all_d, all_s;
  /* verilator lint_off UNUSEDSIGNAL */  // the rest of the last block
  logic [8*BLOCKS-1:0] total, carries;
  /* verilator lint_on UNUSEDSIGNAL */

  assign all_d = (8 * BLOCKS)'(d);
  assign all_s = (8 * BLOCKS)'(s);

  generate
    for (genvar k = 0; k < BLOCKS; k++) begin : g_block
      logic into;
      if (k == 0) begin : g_first
        assign into = carry;
      end else begin : g_next
        assign into = carries[8*k-1];
      end

      CARRY8 #(
          .CARRY_TYPE("SINGLE_CY8")
      ) i_carry (
          .CI(into),
          .CI_TOP(1'b0),
          .DI(all_d[8*k+:8]),
          .S(all_s[8*k+:8]),
          .O(total[8*k+:8]),
          .CO(carries[8*k+:8])
      );
    end
  endgenerate

  assign sum = total[W-1:0];
endmodule
