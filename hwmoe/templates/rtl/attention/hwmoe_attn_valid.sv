// Valid bit delayed by STAGES cycles (0 and up), cleared by reset.
module hwmoe_attn_valid #(
    parameter int STAGES = 1
) (
    /* verilator lint_off UNUSEDSIGNAL */  // no clock is needed if STAGES = 0
    input  logic clk,
    input  logic rst_n,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic d,
    output logic q
);
  generate
    if (STAGES == 0) begin : g_wire
      assign q = d;
    end else if (STAGES == 1) begin : g_register
      always_ff @(posedge clk) begin
        if (!rst_n) q <= 1'b0;
        else q <= d;
      end
    end else begin : g_shift
      logic [STAGES-1:0] line;
      assign q = line[STAGES-1];
      always_ff @(posedge clk) begin
        if (!rst_n) line <= '0;
        else line <= {line[STAGES-2:0], d};
      end
    end
  endgenerate
endmodule
