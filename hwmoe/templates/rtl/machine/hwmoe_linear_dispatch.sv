// Second stage of the linear engine: holds one instruction until its tokens are there and every
// queue behind has room, then takes the tokens and lets it go. At most every other cycle, so that
// `tok_avail` has followed the last `tok_pop`. `go_order` counts instructions, null ones too.
module hwmoe_linear_dispatch #(
    parameter int ENGINES = 5,
    parameter int REST_W = 64
) (
    input  logic              clk,
    input  logic              rst_n,
    input  logic              s_valid,
    output logic              s_ready,
    input  logic              s_null,
    input  logic [ENGINES-1:0] s_wait,
    input  logic [REST_W-1:0] s_rest,
    input  logic [ENGINES-1:0] tok_avail,
    output logic [ENGINES-1:0] tok_pop,
    output logic              go,
    input  logic              go_ready,
    output logic              go_null,
    output logic [       7:0] go_order,
    output logic [REST_W-1:0] go_rest,
    output logic              busy,
    output logic              held
);
  logic [ENGINES-1:0] mask;
  logic       tokens;

  assign s_ready = ~busy;
  assign tokens  = (mask & ~tok_avail) == '0;
  assign held    = busy & ~tokens;
  assign go      = busy & tokens & go_ready;
  assign tok_pop = go ? mask : '0;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      busy      <= 1'b0;
      go_order <= '0;
    end else begin
      busy <= busy ? ~go : s_valid;
      if (go) go_order <= go_order + 1'b1;
    end
  end

  always_ff @(posedge clk) begin
    if (s_ready) begin
      go_null <= s_null;
      mask    <= s_wait;
      go_rest <= s_rest;
    end
  end
endmodule
