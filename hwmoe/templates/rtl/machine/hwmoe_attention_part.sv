// Steps through the parts `first` .. `last` of a word, one with each `step`; `word_end` with the
// last. Both are those of the present word; the next word's follow after `step & word_end`.
module hwmoe_attention_part #(
    parameter int PART_W = 1
) (
    input  logic              clk,
    input  logic              rst_n,
    input  logic              step,
    input  logic [PART_W-1:0] first,
    input  logic [PART_W-1:0] last,
    output logic [PART_W-1:0] part,
    output logic              word_end
);
  logic              begun;   // not at the first part
  logic [PART_W-1:0] later;

  assign part     = begun ? later : first;
  assign word_end = part == last;

  always_ff @(posedge clk) begin
    if (!rst_n) begun <= 1'b0;
    else if (step) begun <= ~word_end;
  end

  always_ff @(posedge clk) begin
    if (step) later <= part + 1'b1;
  end
endmodule
