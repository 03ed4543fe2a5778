// The K largest of a token's logits in descending order, a logit a cycle. Each cell holds a logit
// and its expert; a logit larger than the cell's pushes it and all behind it one cell on. Experts
// come in ascending order, so an equal logit stays behind: ties go to the lower index.
// Cell 0 is lowest in `values` and `experts`; both are complete in the cycle of `done`.
module hwmoe_gate_top #(
    parameter int K = 2,
    parameter int EXPERT_W = 6
) (
    input  logic                  clk,
    input  logic                  rst_n,
    input  logic                  valid,
    input  logic                  first,
    input  logic                  last,
    input  logic [          15:0] logit,
    input  logic [  EXPERT_W-1:0] expert,
    output logic                  done,
    output logic [      16*K-1:0] values,
    output logic [EXPERT_W*K-1:0] experts
);
  logic [K-1:0] filled;
  logic [K-1:0] larger;

  always_ff @(posedge clk) begin
    if (!rst_n) done <= 1'b0;
    else done <= valid & last;
  end

  generate
    for (genvar j = 0; j < K; j++) begin : g_cell
      assign larger[j] = first | ~filled[j] | ($signed(logit) > $signed(values[16*j+:16]));
      if (j == 0) begin : g_first
        always_ff @(posedge clk) begin
          if (valid) begin
            filled[0] <= 1'b1;
            if (larger[0]) begin
              values[15:0]           <= logit;
              experts[EXPERT_W-1:0]  <= expert;
            end
          end
        end
      end else begin : g_next
        always_ff @(posedge clk) begin
          if (valid) begin
            filled[j] <= ~first & (filled[j] | filled[j-1]);
            if (larger[j]) begin
              values[16*j+:16]              <= larger[j-1] ? values[16*(j-1)+:16] : logit;
              experts[EXPERT_W*j+:EXPERT_W] <=
                  larger[j-1] ? experts[EXPERT_W*(j-1)+:EXPERT_W] : expert;
            end
          end
        end
      end
    end
  endgenerate
endmodule
