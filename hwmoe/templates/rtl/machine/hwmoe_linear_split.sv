// Splits words of IN_W bits into pieces of OUT_W, lowest first, a piece a cycle. Pieces above
// `s_last` are dropped; if it is beyond the last piece of a word, none is.
module hwmoe_linear_split #(
    parameter int IN_W = 128,
    parameter int OUT_W = 8
) (
    input  logic             clk,
    input  logic             rst_n,
    input  logic             s_valid,
    output logic             s_ready,
    input  logic [ IN_W-1:0] s_data,
    input  logic [      7:0] s_last,
    output logic             m_valid,
    input  logic             m_ready,
    output logic [OUT_W-1:0] m_data
);
  localparam logic [7:0] TOP = 8'(IN_W / OUT_W - 1);

  logic [IN_W-1:0] word;
  logic [     7:0] left;  // pieces after this one
  logic            move;

  assign m_data  = word[OUT_W-1:0];
  assign s_ready = ~m_valid | (m_ready & (left == '0));
  assign move    = m_valid & m_ready;

  always_ff @(posedge clk) begin
    if (!rst_n) m_valid <= 1'b0;
    else if (s_ready) m_valid <= s_valid;
  end

  always_ff @(posedge clk) begin
    if (s_ready) begin
      word <= s_data;
      left <= (s_last < TOP) ? s_last : TOP;
    end else if (move) begin
      word <= word >> OUT_W;
      left <= left - 1'b1;
    end
  end
endmodule
