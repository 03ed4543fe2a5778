// Takes a finished group to the output stream: drives the reciprocals of all rows at once
// (1 + 4 + 17 cycles from `finish`), then reads the page of sums row by row, a beat a cycle, scales
// and sends. Back-pressure stops the reading and scaling (`adv`) and nothing else.
module hwmoe_attn_drain #(
    parameter int ROWS = 4,
    parameter int LANES = 8,
    parameter int UNITS = 1,
    parameter int ACC_W = 25,
    parameter int TOK_AW = 6,
    parameter int TILE_AW = 2
) (
    input  logic                              clk,
    input  logic                              rst_n,
    // command
    input  logic                              start,
    input  logic [                  TOK_AW:0] n_tok,
    input  logic [               TILE_AW-1:0] tile_max,
    // the sums of probabilities of a group are complete
    input  logic                              finish,
    output logic [                       3:0] recip_norm,
    output logic                              recip_step,
    input  logic [         17*UNITS*ROWS-1:0] recip,
    input  logic [          5*UNITS*ROWS-1:0] recip_e,
    output logic                              page_re,
    output logic [               TILE_AW-1:0] page_raddr,
    input  logic [ACC_W*LANES*UNITS*ROWS-1:0] page,
    output logic                              page_free,
    output logic [         8*LANES*UNITS-1:0] m_data,
    output logic                              m_valid,
    input  logic                              m_ready,
    output logic                              drained,
    output logic [                      31:0] clips
);
  localparam int RW = (ROWS > 1) ? $clog2(ROWS) : 1;
  localparam int BEAT_W = ACC_W * LANES * UNITS;
  localparam int COUNT_W = 2 + $clog2(LANES * UNITS);
  localparam logic [RW-1:0] LAST_ROW = RW'(ROWS - 1);
  localparam logic [4:0] STEPS = 5'd21;

  logic [                4:0] phase;
  logic                       reading;
  logic [             RW-1:0] row;
  logic [        TILE_AW-1:0] tile;
  logic [           TOK_AW:0] left;
  logic                       last_tile;
  logic                       last_token;
  logic                       last_row;
  logic                       adv;
  logic [                7:1] v;
  logic [             RW-1:0] row_1;
  logic                       last_1;
  logic [         BEAT_W-1:0] sums_2;
  logic [       17*UNITS-1:0] recip_2;
  logic [        5*UNITS-1:0] e_2;
  logic [8*LANES*UNITS-1:0]   out;
  logic [    LANES*UNITS-1:0] clipped;
  logic [2*LANES*UNITS-1:0]   ones;
  logic [        COUNT_W-1:0] count;
  logic                       skid_ready;

  assign adv        = skid_ready | ~v[7];
  assign last_tile  = tile == tile_max;
  assign last_token = left == (TOK_AW + 1)'(1);
  assign last_row   = last_token || row == LAST_ROW;
  assign recip_norm = {phase == 5'd1, phase == 5'd2, phase == 5'd3, phase == 5'd4};
  assign recip_step = phase >= 5'd5;
  assign page_re    = adv;
  assign page_raddr = tile;
  // the last word and its reciprocal move to the registers of stage 2
  assign page_free  = adv & v[1] & last_1;
  assign drained    = !reading && phase == '0 && v == '0 && !m_valid;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      phase   <= '0;
      reading <= 1'b0;
      row     <= '0;
      tile    <= '0;
      left    <= '0;
      v       <= '0;
    end else begin
      if (finish) phase <= 5'd1;
      else if (phase == STEPS) phase <= '0;
      else if (phase != '0) phase <= phase + 1'b1;

      if (phase == STEPS) reading <= 1'b1;
      else if (adv && reading && last_tile && last_row) reading <= 1'b0;

      if (start) left <= n_tok;
      if (adv) begin
        v <= {v[6:1], reading};
        if (reading) begin
          tile <= last_tile ? '0 : tile + 1'b1;
          if (last_tile) begin
            row  <= last_row ? '0 : row + 1'b1;
            left <= last_token ? n_tok : left - 1'b1;
          end
        end
      end
    end
  end

  always_ff @(posedge clk) begin
    if (adv) begin
      row_1   <= row;
      last_1  <= last_tile & last_row;
      sums_2  <= page[BEAT_W*row_1+:BEAT_W];
      recip_2 <= recip[17*UNITS*row_1+:17*UNITS];
      e_2     <= recip_e[5*UNITS*row_1+:5*UNITS];
    end
  end

  generate
    for (genvar u = 0; u < UNITS; u++) begin : g_unit
      hwmoe_attn_scale #(
          .LANES(LANES),
          .ACC_W(ACC_W)
      ) scale (
          .clk,
          .adv,
          .a(sums_2[ACC_W*LANES*u+:ACC_W*LANES]),
          .r(recip_2[17*u+:17]),
          .e(e_2[5*u+:5]),
          .o(out[8*LANES*u+:8*LANES]),
          .clipped(clipped[LANES*u+:LANES])
      );
    end
    for (genvar l = 0; l < LANES * UNITS; l++) begin : g_clip
      assign ones[2*l+:2] = {1'b0, clipped[l] & v[7] & adv};
    end
  endgenerate

  hwmoe_adder_tree #(
      .N(LANES * UNITS),
      .W(2)
  ) tree (
      .clk,
      .terms(ones),
      .sum(count)
  );

  always_ff @(posedge clk) begin
    if (start) clips <= '0;
    else clips <= clips + 32'(count);
  end

  hwmoe_skid #(
      .W(8 * LANES * UNITS)
  ) skid (
      .clk,
      .rst_n,
      .s_valid(v[7]),
      .s_ready(skid_ready),
      .s_data(out),
      .m_valid,
      .m_ready,
      .m_data
  );
endmodule
