// Joins beats of PART int8 lanes into whole words and writes them as a tile-major tensor. They come
// token after token, `parts` beats (whole words of them) a row. `start` begins; base, stride and
// parts as in hwmoe_vector_walk. `w_valid` low after the last beat: everything is written.
module hwmoe_vector_pack #(
    parameter int LANES = 8,
    parameter int PART = 4
) (
    input  logic               clk,
    input  logic               rst_n,
    input  logic               start,
    input  logic [       15:0] base,
    input  logic [       15:0] stride,
    input  logic [       15:0] parts,
    input  logic               s_valid,
    output logic               s_ready,
    input  logic [ 8*PART-1:0] s_data,
    output logic               w_valid,
    input  logic               w_ready,
    output logic [       15:0] w_addr,
    output logic [8*LANES-1:0] w_data
);
  localparam int P = LANES / PART;

  logic               free;
  logic               whole;
  logic               take_last;
  logic [8*LANES-1:0] joined;
  logic [       15:0] addr;

  assign free      = ~w_valid | w_ready;
  assign s_ready   = ~whole | free;
  assign take_last = s_valid & whole & free;

  generate
    if (P > 1) begin : g_parts
      localparam int PW = $clog2(P);
      localparam int HELD = 8 * (LANES - PART);
      logic [HELD-1:0] held;
      logic [  PW-1:0] part;
      assign whole  = part == PW'(P - 1);
      assign joined = {s_data, held};
      always_ff @(posedge clk) begin
        if (start) part <= '0;
        else if (s_valid & s_ready) part <= whole ? '0 : part + 1'b1;
      end
      always_ff @(posedge clk) begin
        if (s_valid & ~whole) held <= HELD'({s_data, held} >> (8 * PART));
      end
    end else begin : g_whole
      assign whole  = 1'b1;
      assign joined = s_data;
    end
  endgenerate

  /* verilator lint_off PINCONNECTEMPTY */  // whoever sends knows the end
  hwmoe_vector_walk #(
      .P(P)
  ) i_walk (
      .clk,
      .start,
      .base,
      .stride,
      .parts,
      .step(take_last),
      .addr,
      .last()
  );
  /* verilator lint_on PINCONNECTEMPTY */

  always_ff @(posedge clk) begin
    if (!rst_n) w_valid <= 1'b0;
    else if (free) w_valid <= take_last;
  end

  always_ff @(posedge clk) begin
    if (free) begin
      w_addr <= addr;
      w_data <= joined;
    end
  end
endmodule
