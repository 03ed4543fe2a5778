// Asks for the weights of one linear instruction: from beat `first` on, for each of in_tiles *
// out_tiles tiles (less than 2^24) TERNARY_BEATS beats, four times as many if not ternary.
module hwmoe_linear_weight_request #(
    parameter int TERNARY_BEATS = 4
) (
    input  logic        clk,
    input  logic        rst_n,
    input  logic        s_valid,
    output logic        s_ready,
    input  logic [31:0] s_first,
    input  logic [15:0] s_in_tiles,
    input  logic [15:0] s_out_tiles,
    input  logic        s_ternary,
    output logic        wc_valid,
    input  logic        wc_ready,
    output logic [31:0] wc_addr,
    output logic [31:0] wc_len
);
  localparam logic [31:0] BEATS = 32'(TERNARY_BEATS);

  logic [ 1:0] step;  // bit 0: the tiles are computed; bit 1: the beats
  logic        ternary;
  logic [15:0] in_tiles;
  logic [15:0] out_tiles;
  /* verilator lint_off UNUSEDSIGNAL */  // there are less than 2^24
  logic [31:0] tiles;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [31:0] beats;
  logic        busy;

  assign s_ready = ~busy;
  assign beats   = {8'b0, tiles[23:0]} * BEATS;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      busy     <= 1'b0;
      step     <= '0;
      wc_valid <= 1'b0;
    end else begin
      busy     <= busy ? ~(wc_valid & wc_ready) : s_valid;
      step     <= busy ? {step[0], 1'b0} : {1'b0, s_valid};
      wc_valid <= step[1] | (wc_valid & ~wc_ready);
    end
  end

  always_ff @(posedge clk) begin
    if (s_ready) begin
      wc_addr   <= s_first;
      in_tiles  <= s_in_tiles;
      out_tiles <= s_out_tiles;
      ternary   <= s_ternary;
    end
    tiles <= in_tiles * out_tiles;
    if (step[1]) wc_len <= ternary ? beats : {beats[29:0], 2'b0};
  end
endmodule
