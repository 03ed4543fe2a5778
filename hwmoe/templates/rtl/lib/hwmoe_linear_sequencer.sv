// Order of the computation: for each output tile, for each input tile, all listed token groups,
// one group (T_TOK tokens) a cycle. A slot passes three stages and leaves by `issue`:
//   0  counters; address of the list memory
//   1  rows (from the list memory or counted)
//   2  word addresses of the lanes
//   3  waits until its words are loaded (checked ahead, so `issue` hangs on registers only), for
//      the weights at the first slot of a pass, for a page at the first slot of an output tile
// A pass has at least MIN_PASS slots, empty ones if need be: the same accumulator is added to
// every MIN_PASS cycles at most. A command starts when the one before has issued its last slot and
// the loader has begun with it.
module hwmoe_linear_sequencer #(
    parameter int T_TOK = 1,
    parameter int XW = 9,
    parameter int GW = 6,
    parameter int MIN_PASS = 3
) (
    input  logic                clk,
    input  logic                rst_n,
    input  logic                cmd_valid,
    output logic                cmd_ready,
    input  logic [        XW:0] n_tok,
    input  logic [        15:0] n_list,
    input  logic [        15:0] in_tiles,
    input  logic [        15:0] out_tiles,
    input  logic [      XW-1:0] x_base,
    input  logic                gather,
    output logic                start,
    output logic                free,
    input  logic                begun,
    input  logic [        XW:0] x_ptr,
    input  logic                x_all,
    input  logic [        GW:0] list_groups,
    input  logic                list_all,
    output logic                list_re,
    output logic [        GW:0] list_raddr,
    input  logic [XW*T_TOK-1:0] list_rows,
    input  logic                weights_full,
    input  logic [         1:0] page_busy,
    output logic [         1:0] page_take,
    output logic                issue,
    output logic                swap,
    output logic                x_re,
    output logic [XW*T_TOK-1:0] x_raddr,
    output logic [   T_TOK-1:0] live,
    output logic                first_pass,
    output logic                tile_end,
    output logic                page,
    output logic [      GW-1:0] group
);
  localparam int SW = $clog2(MIN_PASS + 1);

  // Command
  logic        active;
  logic [XW:0] tokens;
  logic [15:0] listed;
  logic [15:0] tiles_in;
  logic [XW:0] base;
  logic        gathers;
  logic        list_page;

  // Stage 0
  logic        running;
  logic [15:0] left;
  logic [GW:0] group_0;
  logic [XW-1:0] row_0;
  logic [SW-1:0] slot_0;
  logic [15:0] in_left;
  logic [15:0] out_left;
  logic [XW:0] base_0;
  logic        page_0;
  logic [T_TOK-1:0] live_0;
  logic        first_0;
  logic        last_0;
  logic        pass_end_0;
  logic        valid_0;
  logic        advance_1;  // stage 1 takes what stage 0 has
  logic        advance_2;
  logic        advance_3;

  // Stages 1 to 3: the same fields, narrower on the way
  logic [2:0] valid_q;  // bit k-1: stage k
  logic [T_TOK-1:0] live_1, live_2;
  logic first_1, first_2, first_3;
  logic pass0_1, pass0_2;
  logic end_1, end_2;
  logic page_1, page_2;
  logic [GW-1:0] group_1, group_2;
  logic [XW:0] base_1;
  logic [XW-1:0] row_1;
  logic [(XW+1)*T_TOK-1:0] word_2;
  logic [(XW+1)*T_TOK-1:0] word_3;
  logic [T_TOK-1:0] loaded_2;
  logic [T_TOK-1:0] loaded_3;
  logic words_3;

  assign free      = ~active | (~running & (valid_q == '0));
  assign cmd_ready = free & begun;
  assign start     = cmd_valid & cmd_ready;

  assign last_0     = left <= 16'(T_TOK);
  assign pass_end_0 = last_0 & (slot_0 == '0);
  assign valid_0    = running & (~gathers | list_all | (left == '0) | (group_0 < list_groups));
  assign list_re    = advance_1;
  assign list_raddr = {list_page, group_0[GW-1:0]};

  always_comb begin
    for (int l = 0; l < T_TOK; l++) live_0[l] = left > 16'(l);
  end

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      active    <= 1'b0;
      running   <= 1'b0;
      page_0    <= 1'b0;
      list_page <= 1'b0;
    end else if (start) begin
      active    <= 1'b1;
      running   <= n_list != '0;
      list_page <= ~list_page;
    end else if (free) begin
      active <= 1'b0;
    end else if (valid_0 & advance_1 & pass_end_0 & (in_left == 16'd1)) begin
      page_0 <= ~page_0;
      if (out_left == 16'd1) running <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin
    if (start) begin
      tokens   <= n_tok;
      listed   <= n_list;
      tiles_in <= in_tiles;
      base     <= {1'b0, x_base};
      gathers  <= gather;
      left     <= n_list;
      group_0  <= '0;
      row_0    <= '0;
      slot_0   <= SW'(MIN_PASS - 1);
      first_0  <= 1'b1;
      in_left  <= in_tiles;
      out_left <= out_tiles;
      base_0   <= {1'b0, x_base};
    end else if (valid_0 & advance_1) begin
      first_0 <= pass_end_0;
      if (pass_end_0) begin
        left    <= listed;
        group_0 <= '0;
        row_0   <= '0;
        slot_0  <= SW'(MIN_PASS - 1);
        if (in_left == 16'd1) begin
          in_left  <= tiles_in;
          out_left <= out_left - 1'b1;
          base_0   <= base;
        end else begin
          in_left <= in_left - 1'b1;
          base_0  <= base_0 + tokens;
        end
      end else begin
        left    <= last_0 ? '0 : left - 16'(T_TOK);
        group_0 <= group_0 + 1'b1;
        row_0   <= row_0 + XW'(T_TOK);
        if (slot_0 != '0) slot_0 <= slot_0 - 1'b1;
      end
    end
  end

  // A word is there if loading has passed it; lanes without a token wait for nothing.
  always_comb begin
    for (int l = 0; l < T_TOK; l++) begin
      loaded_2[l] = ~live_2[l] | x_all | (word_2[(XW+1)*l+:XW+1] < x_ptr);
      loaded_3[l] = ~live[l] | x_all | (word_3[(XW+1)*l+:XW+1] < x_ptr);
      x_raddr[XW*l+:XW] = word_3[(XW+1)*l+:XW];
    end
  end

  assign issue = valid_q[2] & words_3 & (~first_3 | weights_full) &
                 (~(first_3 & first_pass) | ~page_busy[page]);
  assign advance_3 = ~valid_q[2] | issue;
  assign advance_2 = ~valid_q[1] | advance_3;
  assign advance_1 = ~valid_q[0] | advance_2;
  assign swap = issue & first_3;
  assign page_take = (swap & first_pass) ? {page, ~page} : 2'b00;
  assign x_re = valid_q[2];

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      valid_q <= '0;
    end else begin
      if (advance_1) valid_q[0] <= valid_0;
      if (advance_2) valid_q[1] <= valid_q[0];
      if (advance_3) valid_q[2] <= valid_q[1];
    end
  end

  always_ff @(posedge clk) begin
    if (advance_1) begin
      live_1  <= live_0;
      first_1 <= first_0;
      pass0_1 <= in_left == tiles_in;
      end_1   <= last_0 & (left != '0) & (in_left == 16'd1);
      page_1  <= page_0;
      group_1 <= group_0[GW-1:0];
      base_1  <= base_0;
      row_1   <= row_0;
    end
    if (advance_2) begin
      live_2  <= live_1;
      first_2 <= first_1;
      pass0_2 <= pass0_1;
      end_2   <= end_1;
      page_2  <= page_1;
      group_2 <= group_1;
      for (int l = 0; l < T_TOK; l++) begin
        word_2[(XW+1)*l+:XW+1] <= base_1 +
            (gathers ? {1'b0, list_rows[XW*l+:XW]} : {1'b0, row_1} + (XW + 1)'(l));
      end
    end
    words_3 <= advance_3 ? (&loaded_2) : (&loaded_3);
    if (advance_3) begin
      live       <= live_2;
      first_3    <= first_2;
      first_pass <= pass0_2;
      tile_end   <= end_2;
      page       <= page_2;
      group      <= group_2;
      word_3     <= word_2;
    end
  end
endmodule
