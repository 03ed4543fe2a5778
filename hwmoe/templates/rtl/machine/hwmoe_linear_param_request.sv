// Asks for the table and the parameters of one linear instruction, in this order, each if wanted.
// Both lie at `pointer` + 4 * their field. Every request goes to the memory (`pc`: bytes, beats of
// PORT_BITS) and, as what will come, to the other end of the channel (`o`): `o_table`: bytes of a
// table, otherwise beats of PARAM_BITS; `o_beats` of PORT_BITS; `o_last`: the last piece of the
// last beat that counts.
module hwmoe_linear_param_request #(
    parameter int PORT_BITS = 128,
    parameter int PARAM_BITS = 512
) (
    input  logic        clk,
    input  logic        rst_n,
    input  logic [63:0] pointer,
    input  logic        s_valid,
    output logic        s_ready,
    input  logic        s_want_table,
    input  logic        s_want_params,
    input  logic [31:0] s_table,
    input  logic [31:0] s_params,
    input  logic [15:0] s_chunks,
    output logic        pc_valid,
    input  logic        pc_ready,
    output logic [63:0] pc_addr,
    output logic [31:0] pc_len,
    output logic        o_valid,
    input  logic        o_ready,
    output logic        o_table,
    output logic [ 7:0] o_last,
    output logic [31:0] o_beats
);
  localparam int JOINED = (PARAM_BITS > PORT_BITS) ? PARAM_BITS / PORT_BITS : 1;
  localparam int PIECES = (PARAM_BITS < PORT_BITS) ? PORT_BITS / PARAM_BITS : 1;
  localparam int PIECE_BITS = $clog2(PIECES);

  logic        want_table;
  logic        want_params;
  logic [31:0] at_table;
  logic [31:0] at_params;
  logic [15:0] chunks;
  logic [31:0] field;
  logic [31:0] beats;
  logic [16:0] above;
  logic [ 2:0] step;  // bits 0, 1: the address is computed; bit 2: it is there
  logic        carry;
  logic        sent;

  assign s_ready  = ~(want_table | want_params);
  assign o_table  = want_table;
  assign field    = want_table ? at_table : at_params;
  assign above    = {1'b0, chunks} + 17'(PIECES - 1);
  assign beats    = 32'(above >> PIECE_BITS) * 32'(JOINED);
  assign o_beats  = want_table ? 32'(2048 / PORT_BITS) : beats;
  assign o_last   = want_table ? 8'd255 : 8'(above) & 8'(PIECES - 1);
  assign pc_len   = o_beats;
  assign pc_valid = step[2] & o_ready;
  assign sent     = pc_valid & pc_ready;
  assign o_valid  = sent;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      want_table  <= 1'b0;
      want_params <= 1'b0;
      step        <= '0;
    end else if (s_ready) begin
      want_table  <= s_valid & s_want_table;
      want_params <= s_valid & s_want_params;
      step        <= {2'b00, s_valid & (s_want_table | s_want_params)};
    end else if (sent) begin
      want_table  <= 1'b0;
      want_params <= want_table & want_params;
      step        <= {2'b00, want_table & want_params};
    end else begin
      step <= {step[2] | step[1], step[0], 1'b0};
    end
  end

  always_ff @(posedge clk) begin
    if (s_ready) begin
      at_table  <= s_table;
      at_params <= s_params;
      chunks    <= s_chunks;
    end
    if (step[0]) {carry, pc_addr[31:0]} <= {1'b0, pointer[31:0]} + {1'b0, field[29:0], 2'b0};
    if (step[1]) pc_addr[63:32] <= pointer[63:32] + {30'b0, field[31:30]} + {31'b0, carry};
  end
endmodule
