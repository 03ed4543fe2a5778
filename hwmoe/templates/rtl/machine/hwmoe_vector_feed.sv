// Reads `rows` rows of a tile-major tensor of int16 words, token after token, and sends them PART
// lanes a beat, `parts` beats a row; what is left of a row's last word is dropped. `start` begins;
// base, stride, rows and parts hold still from then until the last beat is out. Words under way
// have their places in the queue: a read is asked for only if there is one.
module hwmoe_vector_feed #(
    parameter int LANES = 8,
    parameter int PART = 4,
    parameter int ROOM = 16
) (
    input  logic                clk,
    input  logic                rst_n,
    input  logic                start,
    input  logic [        15:0] base,
    input  logic [        15:0] stride,
    input  logic [        15:0] rows,
    input  logic [        15:0] parts,
    output logic                rd_valid,
    input  logic                rd_ready,
    output logic [        15:0] rd_addr,
    input  logic                rd_dvalid,
    input  logic [16*LANES-1:0] rd_data,
    output logic                m_valid,
    input  logic                m_ready,
    output logic [ 16*PART-1:0] m_data
);
  localparam int P = LANES / PART;
  localparam int PW = (P > 1) ? $clog2(P) : 1;

  logic                on;
  logic [        15:0] rows_left;
  logic                has_room;
  logic                asked;
  logic                row_last;

  logic                word_valid;
  logic [16*LANES-1:0] word;
  logic [      PW-1:0] part;
  logic [        15:0] parts_left;
  logic                take;
  logic                part_last;
  logic                word_last;

  assign rd_valid = on & has_room;
  assign asked    = rd_valid & rd_ready;

  always_ff @(posedge clk) begin
    if (!rst_n) on <= 1'b0;
    else if (start) on <= rows != '0 && parts != '0;
    else if (asked & row_last & (rows_left == 16'd1)) on <= 1'b0;
  end

  always_ff @(posedge clk) begin
    if (start) rows_left <= rows;
    else if (asked & row_last) rows_left <= rows_left - 1'b1;
  end

  hwmoe_vector_walk #(
      .P(P)
  ) i_walk (
      .clk,
      .start,
      .base,
      .stride,
      .parts,
      .step(asked),
      .addr(rd_addr),
      .last(row_last)
  );

  /* verilator lint_off PINCONNECTEMPTY */  // the places of the queue were counted
  hwmoe_norm_credit #(
      .N(ROOM)
  ) i_room (
      .clk,
      .rst_n,
      .take(asked),
      .back(take & word_last),
      .has (has_room),
      .idle()
  );

  hwmoe_fifo #(
      .W(16 * LANES),
      .DEPTH(ROOM)
  ) i_words (
      .clk,
      .rst_n,
      .s_valid(rd_dvalid),
      .s_ready(),
      .s_data(rd_data),
      .m_valid(word_valid),
      .m_ready(take & word_last),
      .m_data(word)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  assign take      = word_valid & (~m_valid | m_ready);
  assign part_last = parts_left == 16'd1;
  assign word_last = part_last | (part == PW'(P - 1));

  always_ff @(posedge clk) begin
    if (!rst_n) m_valid <= 1'b0;
    else if (~m_valid | m_ready) m_valid <= word_valid;
  end

  always_ff @(posedge clk) begin
    if (take) m_data <= word[16*PART*part+:16*PART];
    if (start) begin
      part       <= '0;
      parts_left <= parts;
    end else if (take) begin
      part       <= word_last ? '0 : part + 1'b1;
      parts_left <= part_last ? parts : parts_left - 1'b1;
    end
  end
endmodule
