// Writes the kernel's beats of results to their parts of words, in the order of
// hwmoe_attention_walk, a masked write a beat. Parts above the last beat of a token become zero.
// `busy`: a beat that was taken is not written yet.
module hwmoe_attention_collect #(
    parameter int LANES = 16,  // of a word
    parameter int BEAT = 8,  // lanes of a beat
    parameter int GRAIN = 8  // lanes of a bit of the mask; divides BEAT
) (
    input  logic                   clk,
    input  logic                   rst_n,
    // the tensor
    input  logic                   start,
    input  logic [           15:0] base,
    input  logic [           15:0] n_tok,
    input  logic [           15:0] dim_tiles,
    input  logic [           15:0] head_groups,
    // kernel
    input  logic                   s_valid,
    output logic                   s_ready,
    input  logic [     8*BEAT-1:0] s_data,
    output logic                   busy,
    // memory
    output logic                   w_valid,
    input  logic                   w_ready,
    output logic [           15:0] w_addr,
    output logic [LANES/GRAIN-1:0] w_mask,
    output logic [    8*LANES-1:0] w_data
);
  localparam int PARTS = LANES / BEAT;
  localparam int PART_W = (PARTS > 1) ? $clog2(PARTS) : 1;
  localparam int BITS = BEAT / GRAIN;  // of the mask, a part

  logic              walk_valid;
  logic [      15:0] walk_offset;
  logic [PART_W-1:0] walk_first;
  logic [PART_W-1:0] walk_last;
  logic              walk_last_row;
  logic [PART_W-1:0] part;
  logic              word_end;
  logic              take;
  logic [8*BEAT-1:0] beat;
  logic [ PARTS-1:0] write;
  logic [ PARTS-1:0] clear;

  assign s_ready = walk_valid & (w_ready | ~w_valid);
  assign take    = s_valid & s_ready;
  assign busy    = w_valid;

  // fields that only the readers need
  /* verilator lint_off PINCONNECTEMPTY */
  hwmoe_attention_walk #(
      .PARTS(PARTS)
  ) i_walk (
      .clk,
      .rst_n,
      .start,
      .n_tok,
      .dim_tiles,
      .head_groups,
      .valid(walk_valid),
      .take(take & word_end),
      .offset(walk_offset),
      .first_part(walk_first),
      .last_part(walk_last),
      .second(),
      .last_row(walk_last_row),
      .primed()
  );
  /* verilator lint_on PINCONNECTEMPTY */

  hwmoe_attention_part #(
      .PART_W(PART_W)
  ) i_part (
      .clk,
      .rst_n,
      .step(take),
      .first(walk_first),
      .last(walk_last),
      .part,
      .word_end
  );

  always_ff @(posedge clk) begin
    if (!rst_n) w_valid <= 1'b0;
    else if (take) w_valid <= 1'b1;
    else if (w_ready) w_valid <= 1'b0;
  end

  always_ff @(posedge clk) begin
    if (take) begin
      beat   <= s_data;
      w_addr <= base + walk_offset;
      for (int p = 0; p < PARTS; p++) begin
        clear[p] <= PART_W'(p) > part;
        write[p] <= PART_W'(p) == part || (walk_last_row && word_end && PART_W'(p) > part);
      end
    end
  end

  generate
    for (genvar p = 0; p < PARTS; p++) begin : g_part
      assign w_mask[BITS*p+:BITS]     = {BITS{write[p]}};
      assign w_data[8*BEAT*p+:8*BEAT] = clear[p] ? '0 : beat;
    end
  endgenerate
endmodule
