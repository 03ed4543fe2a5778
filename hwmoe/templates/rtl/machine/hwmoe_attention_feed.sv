// Reads a tensor (KV = 1: keys and values in turn) and gives it to the kernel beat by beat, in the
// order of hwmoe_attention_walk.
//
// A word is asked for only if the FIFO has a place for it, so reads may be answered after any time;
// with DEPTH of 5 and more than the memory's 3 cycles of latency cover, a word a cycle flows. The
// FIFO of parts runs beside: a word's first and last part are in it before the word is.
// `hold_off` keeps a request from being made, never takes one back.
module hwmoe_attention_feed #(
    parameter int LANES = 16,  // of a word
    parameter int BEAT = 8,  // lanes of a beat
    parameter int ROWS = 4,
    parameter int KV = 0,
    parameter int DEPTH = 16
) (
    input  logic               clk,
    input  logic               rst_n,
    // the tensor; `base_second` is that of every second pass
    input  logic               start,
    input  logic [       15:0] base,
    input  logic [       15:0] base_second,
    input  logic [       15:0] n_tok,
    input  logic [       15:0] dim_tiles,
    input  logic [       15:0] head_groups,
    input  logic               hold_off,
    output logic               primed,
    // memory
    output logic               r_valid,
    input  logic               r_ready,
    output logic [       15:0] r_addr,
    input  logic               d_valid,
    input  logic [8*LANES-1:0] d_data,
    // kernel
    output logic               m_valid,
    input  logic               m_ready,
    output logic               m_second,
    output logic [ 8*BEAT-1:0] m_data
);
  localparam int PARTS = LANES / BEAT;
  localparam int PART_W = (PARTS > 1) ? $clog2(PARTS) : 1;

  logic               walk_valid;
  logic               walk_take;
  logic [       15:0] walk_offset;
  logic [ PART_W-1:0] walk_first;
  logic [ PART_W-1:0] walk_last;
  logic               walk_second;
  logic               has_place;
  logic               asked;
  logic               word_valid;
  logic [8*LANES-1:0] word;
  logic [ PART_W-1:0] word_first;
  logic [ PART_W-1:0] word_last;
  logic               word_second;
  logic               word_end;
  logic               word_pop;
  logic [ PART_W-1:0] part;
  logic               move;
  logic               step;

  assign r_valid   = walk_valid & has_place & (asked | ~hold_off);
  assign r_addr    = (walk_second ? base_second : base) + walk_offset;
  assign walk_take = r_valid & r_ready;

  always_ff @(posedge clk) begin
    if (!rst_n) asked <= 1'b0;
    else asked <= r_valid & ~r_ready;
  end

  // fields that only other users of the walk and the FIFOs need; places are counted here
  /* verilator lint_off PINCONNECTEMPTY */
  hwmoe_attention_walk #(
      .PARTS(PARTS),
      .ROWS(ROWS),
      .KV(KV)
  ) i_walk (
      .clk,
      .rst_n,
      .start,
      .n_tok,
      .dim_tiles,
      .head_groups,
      .valid(walk_valid),
      .take(walk_take),
      .offset(walk_offset),
      .first_part(walk_first),
      .last_part(walk_last),
      .second(walk_second),
      .last_row(),
      .primed
  );

  hwmoe_norm_credit #(
      .N(DEPTH)
  ) i_places (
      .clk,
      .rst_n,
      .take(walk_take),
      .back(word_pop),
      .has (has_place),
      .idle()
  );

  hwmoe_fifo #(
      .W(2 * PART_W + 1),
      .DEPTH(DEPTH)
  ) i_parts (
      .clk,
      .rst_n,
      .s_valid(walk_take),
      .s_ready(),
      .s_data({walk_second, walk_first, walk_last}),
      .m_valid(),
      .m_ready(word_pop),
      .m_data({word_second, word_first, word_last})
  );

  hwmoe_fifo #(
      .W(8 * LANES),
      .DEPTH(DEPTH)
  ) i_words (
      .clk,
      .rst_n,
      .s_valid(d_valid),
      .s_ready(),
      .s_data(d_data),
      .m_valid(word_valid),
      .m_ready(word_pop),
      .m_data(word)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  assign move     = m_ready | ~m_valid;
  assign step     = move & word_valid;
  assign word_pop = step & word_end;

  hwmoe_attention_part #(
      .PART_W(PART_W)
  ) i_part (
      .clk,
      .rst_n,
      .step,
      .first(word_first),
      .last (word_last),
      .part,
      .word_end
  );

  always_ff @(posedge clk) begin
    if (!rst_n) m_valid <= 1'b0;
    else if (move) m_valid <= word_valid;
  end

  always_ff @(posedge clk) begin
    if (move) begin
      m_second <= word_second;
      m_data   <= word[8*BEAT*part+:8*BEAT];
    end
  end
endmodule
