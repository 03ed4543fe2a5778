// Tells whether the kernel is out of work for lack of memory (`starved`): the tiles of weights that
// have arrived are computed, and a weight or a parameter (`params_wanted`) that it would take now
// has not come. Its work is counted from outside: a complete tile brings n_list tokens (at least
// three groups of T_TOK), a cycle takes T_TOK of them. What holds the kernel up otherwise is not
// seen, so `starved` may come early, never late. `s`: one entry a weight request, before its beats.
module hwmoe_linear_hunger #(
    parameter int TERNARY_BEATS = 4,
    parameter int T_TOK = 1,
    parameter int QUEUE = 8
) (
    input  logic        clk,
    input  logic        rst_n,
    input  logic        s_valid,
    output logic        s_ready,
    input  logic        s_ternary,
    input  logic [15:0] s_n_list,
    input  logic [15:0] s_in_tiles,
    input  logic [15:0] s_out_tiles,
    input  logic        w_valid,
    input  logic        w_ready,
    input  logic        params_wanted,
    output logic        starved
);
  localparam logic [15:0] BEATS = 16'(TERNARY_BEATS);
  localparam logic [15:0] LEAST = 16'(3 * T_TOK);
  localparam logic [19:0] A_CYCLE = 20'(T_TOK);

  logic        next_valid;
  logic        next_ready;
  logic        next_ternary;
  logic [15:0] next_n_list;
  logic [15:0] next_in_tiles;
  logic [15:0] next_out_tiles;
  logic        active;
  logic [15:0] beats;  // a tile
  logic [15:0] tokens;
  logic [15:0] came;
  logic [15:0] in_tiles;
  logic [15:0] beats_left;
  logic [15:0] in_left;
  logic [15:0] out_left;
  logic [19:0] work;
  logic        more;  // tokens of a tile that came in the cycle before are not yet in work
  logic        take;
  logic        tile_end;
  logic        all_in;

  hwmoe_fifo #(
      .W(49),
      .DEPTH(QUEUE)
  ) i_requests (
      .clk,
      .rst_n,
      .s_valid,
      .s_ready,
      .s_data({s_ternary, s_n_list, s_in_tiles, s_out_tiles}),
      .m_valid(next_valid),
      .m_ready(next_ready),
      .m_data({next_ternary, next_n_list, next_in_tiles, next_out_tiles})
  );

  assign take       = active & w_valid & w_ready;
  assign tile_end   = take & (beats_left == 16'd1);
  assign all_in     = tile_end & (in_left == 16'd1) & (out_left == 16'd1);
  assign next_ready = ~active | all_in;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      active  <= 1'b0;
      more    <= 1'b0;
      work    <= '0;
      starved <= 1'b0;
    end else begin
      if (next_ready) active <= next_valid;
      more    <= tile_end;
      work    <= ((work > A_CYCLE) ? work - A_CYCLE : '0) + (more ? {4'b0, came} : '0);
      starved <= (work == '0) & ~more & ((active & w_ready & ~w_valid) | params_wanted);
    end
  end

  always_ff @(posedge clk) begin
    came <= tokens;
    if (next_ready) begin
      beats      <= next_ternary ? BEATS : {BEATS[13:0], 2'b0};
      beats_left <= next_ternary ? BEATS : {BEATS[13:0], 2'b0};
      tokens     <= (next_n_list < LEAST) ? LEAST : next_n_list;
      in_tiles   <= next_in_tiles;
      in_left    <= next_in_tiles;
      out_left   <= next_out_tiles;
    end else if (take) begin
      beats_left <= tile_end ? beats : beats_left - 1'b1;
      if (tile_end) begin
        in_left <= (in_left == 16'd1) ? in_tiles : in_left - 1'b1;
        if (in_left == 16'd1) out_left <= out_left - 1'b1;
      end
    end
  end
endmodule
