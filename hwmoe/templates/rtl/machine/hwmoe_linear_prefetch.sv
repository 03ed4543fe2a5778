// First stage of the linear engine: takes one instruction, settles how many rows it has, asks for
// its weights and parameters and hands it on. Without a list it asks at once, ahead of the tokens.
// With one it waits until the next stage is empty (m_ready) and the tokens are there; only then is
// `len` (two cycles after its address) that of the present image. A null instruction asks nothing.
// `rest` is carried along. `used`: the kernel gets the command; `held`: waits for tokens here.
module hwmoe_linear_prefetch #(
    parameter int ENGINES = 5,
    parameter int REST_W = 64,
    parameter logic [1:0] GATHER = 2'd1,
    parameter logic [1:0] LISTED = 2'd2
) (
    input  logic              clk,
    input  logic              rst_n,
    input  logic              i_valid,
    output logic              i_ready,
    input  logic              i_null,
    input  logic [ENGINES-1:0] i_wait,
    input  logic [       1:0] i_list_mode,
    input  logic [      15:0] i_n_tok,
    input  logic [      15:0] i_n_list,
    input  logic [REST_W-1:0] i_rest,
    input  logic [ENGINES-1:0] tok_avail,
    input  logic [      15:0] len,
    output logic              ask_valid,
    input  logic              ask_ready,
    output logic              m_valid,
    input  logic              m_ready,
    output logic              m_null,
    output logic [ENGINES-1:0] m_wait,
    output logic              m_used,
    output logic              m_gather,
    output logic [      15:0] m_n_tok,
    output logic [      15:0] m_n_list,
    output logic [REST_W-1:0] m_rest,
    output logic              busy,
    output logic              held
);
  logic       listed;  // n_tok too is the length of the list
  logic       known;  // the rows are settled
  logic       asked;
  logic       tokens;
  logic [3:0] settle;  // cycles for which `len` has been allowed to be read
  logic       take;

  assign i_ready   = ~busy;
  assign take      = i_valid & i_ready;
  assign tokens    = (m_wait & ~tok_avail) == '0;
  assign held      = busy & ~known & ~tokens;
  assign ask_valid = busy & known & ~asked;
  assign m_valid   = busy & known & asked;
  assign m_used    = ~m_null & (m_n_tok != '0);

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      busy   <= 1'b0;
      known  <= 1'b0;
      asked  <= 1'b0;
      settle <= '0;
    end else begin
      busy   <= take | (busy & ~(m_valid & m_ready));
      settle <= (busy & ~known & m_ready & tokens) ? {settle[2:0], 1'b1} : '0;
      if (take) begin
        known <= i_null | ((i_list_mode != GATHER) & (i_list_mode != LISTED));
        asked <= i_null;
      end else begin
        known <= known | settle[3];
        asked <= asked | (ask_valid & ask_ready);
      end
    end
  end

  always_ff @(posedge clk) begin
    if (take) begin
      m_null   <= i_null;
      m_wait   <= i_wait;
      m_gather <= i_list_mode == GATHER;
      listed   <= i_list_mode == LISTED;
      m_n_tok  <= i_n_tok;
      m_n_list <= i_n_list;
      m_rest   <= i_rest;
    end else if (~known & settle[3]) begin
      m_n_list <= len;
      if (listed) m_n_tok <= len;
    end
  end
endmodule
