// Core of the load engine: words from off-chip memory to an activation memory, one instruction at
// a time.
//   image      `words` words of LANES int8 from 64 bytes after the image pointer to act8; then the
//              pointer, set by run_start, moves on by image_bytes
//   constants  (go_const) `words` words of LANES int16 from params + 4 * go_params to res
// What an instruction leaves of its last beat is dropped.
module hwmoe_load_engine #(
    parameter int LANES = 16,
    parameter int PORT_BITS = 128
) (
    input  logic                 clk,
    input  logic                 rst_n,
    input  logic                 run_start,
    input  logic [         63:0] images,
    input  logic [         63:0] params,
    input  logic [         31:0] image_bytes,
    input  logic                 go_valid,
    output logic                 go_ready,
    input  logic                 go_const,
    input  logic [         15:0] go_dst,
    input  logic [         16:0] go_words,
    input  logic [         31:0] go_params,
    output logic                 fin,
    output logic [         31:0] fin_clipped,
    output logic                 core_stalled,
    output logic                 c_valid,
    input  logic                 c_ready,
    output logic [         63:0] c_addr,
    output logic [         31:0] c_len,
    input  logic                 s_valid,
    output logic                 s_ready,
    input  logic [PORT_BITS-1:0] s_data,
    output logic                 act8_valid,
    input  logic                 act8_ready,
    output logic                 res_valid,
    input  logic                 res_ready,
    output logic [         15:0] w_addr,
    output logic [  8*LANES-1:0] act8_data,
    output logic [ 16*LANES-1:0] res_data
);
  localparam int UNIT = 8 * LANES;  // a word of act8, half a word of res
  localparam int UNITS = (PORT_BITS > UNIT) ? PORT_BITS / UNIT : 1;  // in a beat
  localparam int BEATS = (PORT_BITS > UNIT) ? 1 : UNIT / PORT_BITS;  // of a unit

  typedef enum logic [2:0] {
    IDLE,
    ASK,
    MOVE,
    DONE
  } state_t;
  state_t state;

  logic [63:0] image;
  logic is_const;
  logic [16:0] left;
  logic [18:0] units;
  logic unit_valid, unit_ready;
  logic [UNIT-1:0] unit;
  logic have_low;
  logic [UNIT-1:0] low;
  logic written;

  assign go_ready     = state == IDLE;
  assign fin          = state == DONE;
  assign fin_clipped  = '0;
  assign core_stalled = ((state == ASK) & ~c_ready) | ((state == MOVE) & ~unit_valid);
  assign c_valid      = state == ASK;

  // beats of all units, the last one perhaps in part
  assign units = go_const ? {1'b0, go_words, 1'b0} : {2'b0, go_words};

  assign act8_valid = (state == MOVE) & unit_valid & ~is_const;
  assign act8_data  = unit;
  assign res_valid  = (state == MOVE) & unit_valid & is_const & have_low;
  assign res_data   = {unit, low};
  assign written    = (act8_valid & act8_ready) | (res_valid & res_ready);
  assign unit_ready = written | (is_const & ~have_low);

  hwmoe_gearbox #(
      .FROM(PORT_BITS),
      .TO  (UNIT)
  ) i_units (
      .clk,
      .rst_n,
      .clear(fin),
      .s_valid,
      .s_ready,
      .s_data,
      .m_valid(unit_valid),
      .m_ready(unit_ready),
      .m_data(unit)
  );

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      state <= IDLE;
      image <= '0;
    end else begin
      case (state)
        IDLE: if (go_valid) state <= (go_words == '0) ? DONE : ASK;
        ASK: if (c_ready) state <= MOVE;
        MOVE: if (written & (left == 17'd1)) state <= DONE;
        default: state <= IDLE;
      endcase
      if (run_start) image <= images;
      else if (fin & ~is_const) image <= image + 64'(image_bytes);
    end
  end

  always_ff @(posedge clk) begin
    if (!rst_n) have_low <= 1'b0;
    else if (fin) have_low <= 1'b0;
    else if (unit_valid & unit_ready & is_const) have_low <= ~have_low;
  end

  always_ff @(posedge clk) begin
    if (unit_valid & ~have_low) low <= unit;
    if (go_ready) begin
      is_const <= go_const;
      left     <= go_words;
      w_addr   <= go_dst;
      c_addr   <= go_const ? params + {30'b0, go_params, 2'b0} : image + 64'd64;
      c_len    <= (32'(units) * BEATS + (UNITS - 1)) / UNITS;
    end else if (written) begin
      left   <= left - 1'b1;
      w_addr <= w_addr + 1'b1;
    end
  end
endmodule
