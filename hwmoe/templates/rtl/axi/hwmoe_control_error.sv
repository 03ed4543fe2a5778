// Keeps the first error of a run: code, step, detail. Of several in one cycle the lowest source is
// the first; `refused`, with its detail, comes before any. `prepare` clears.
module hwmoe_control_error #(
    parameter int SOURCES = 1
) (
    input  logic                  clk,
    input  logic                  rst_n,
    input  logic                  prepare,
    input  logic                  armed,
    input  logic                  refused,
    input  logic [          31:0] refused_detail,
    input  logic [   SOURCES-1:0] e_valid,
    input  logic [ 8*SOURCES-1:0] e_code,
    input  logic [16*SOURCES-1:0] e_step,
    input  logic [32*SOURCES-1:0] e_detail,
    output logic                  failed,
    output logic [           7:0] code,
    output logic [          15:0] step,
    output logic [          31:0] detail
);
  localparam logic [7:0] UNALIGNED = 8'd7;
  localparam logic [15:0] NO_STEP = 16'hffff;

  logic any, seen;
  logic [55:0] pick, found;

  always_comb begin
    pick = '0;
    for (int i = SOURCES - 1; i >= 0; i--) begin
      if (e_valid[i]) pick = {e_code[8*i+:8], e_step[16*i+:16], e_detail[32*i+:32]};
    end
  end

  always_ff @(posedge clk) begin
    if (!rst_n) any <= 1'b0;
    else any <= e_valid != '0;
    found <= pick;
  end

  assign seen = any & armed & ~failed;

  always_ff @(posedge clk) begin
    if (!rst_n) failed <= 1'b0;
    else failed <= ~prepare & (failed | refused | seen);
  end

  always_ff @(posedge clk) begin
    if (!rst_n | prepare) {code, step, detail} <= '0;
    else if (refused) {code, step, detail} <= {UNALIGNED, NO_STEP, refused_detail};
    else if (seen) {code, step, detail} <= found;
  end
endmodule
