// A leaf of hwmoe_ternary_tree: sum = t(x[0]) + t(x[1]) + carry, where t is x, ~x or 0 as the code
// of its weight, 1, -1 or 0, says. A LUT6_2 a bit selects both and adds them: O5 is one term and O6
// the sum without the carry. Combinational.
module hwmoe_ternary_pair (
    input  logic [15:0] x,
    input  logic [ 3:0] codes,
    input  logic        carry,
    output logic [ 8:0] sum
);
  localparam int W = 9;
  localparam int BLOCKS = (W + 7) / 8;

  logic [8*BLOCKS-1:0] select, add;
  /* verilator lint_off UNUSEDSIGNAL */  // the rest of the last block
  logic [8*BLOCKS-1:0] total, carries;
  /* verilator lint_on UNUSEDSIGNAL */

  generate
    for (genvar b = 0; b < 8 * BLOCKS; b++) begin : g_bit
      if (b < W) begin : g_used
        localparam int FROM = (b < 8) ? b : 7;  // the sign again

        LUT6_2 #(
            .INIT(64'h48B7B74848484848)
        ) i_lut (
            .I0(x[FROM]),
            .I1(codes[0]),
            .I2(codes[1]),
            .I3(x[8+FROM]),
            .I4(codes[3]),
            .I5(codes[2]),
            .O5(select[b]),
            .O6(add[b])
        );
      end else begin : g_rest
        assign select[b] = 1'b0;
        assign add[b] = 1'b0;
      end
    end

    for (genvar k = 0; k < BLOCKS; k++) begin : g_carry
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
          .DI(select[8*k+:8]),
          .S(add[8*k+:8]),
          .O(total[8*k+:8]),
          .CO(carries[8*k+:8])
      );
    end
  endgenerate

  assign sum = total[W-1:0];
endmodule
