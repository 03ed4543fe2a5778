// Data delayed by STAGES cycles (0 and up), without reset: becomes shift-register LUTs.
module hwmoe_attn_delay #(
    parameter int W = 8,
    parameter int STAGES = 1
) (
    /* verilator lint_off UNUSEDSIGNAL */  // no clock is needed if STAGES = 0
    input  logic         clk,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic [W-1:0] d,
    output logic [W-1:0] q
);
  generate
    if (STAGES == 0) begin : g_wire
      assign q = d;
    end else if (STAGES == 1) begin : g_register
      always_ff @(posedge clk) q <= d;
    end else begin : g_shift
      logic [W*STAGES-1:0] line;
      assign q = line[W*(STAGES-1)+:W];
      always_ff @(posedge clk) line <= {line[W*(STAGES-1)-1:0], d};
    end
  endgenerate
endmodule
