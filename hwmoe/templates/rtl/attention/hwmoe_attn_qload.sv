// Fetches the queries of a command, one group of rows ahead of the group that is computed.
// Writes are registered: a beat taken in cycle c is in its row's memory in cycle c+2.
module hwmoe_attn_qload #(
    parameter int ROWS = 4,
    parameter int LANES = 8,
    parameter int TOK_AW = 6,
    parameter int TILE_AW = 2
) (
    input  logic               clk,
    input  logic               rst_n,
    // command; stable from `start` until its end
    input  logic               start,
    input  logic [   TOK_AW:0] n_tok,
    input  logic [TILE_AW-1:0] tile_max,
    input  logic [       15:0] head_groups,
    input  logic [8*LANES-1:0] s_data,
    input  logic               s_valid,
    output logic               s_ready,
    // the page being computed is complete; the page is no longer read
    input  logic               page,
    output logic               filled,
    input  logic               release_page,
    output logic [   ROWS-1:0] we,
    output logic [  TILE_AW:0] waddr,
    output logic [8*LANES-1:0] wdata
);
  localparam int RW = (ROWS > 1) ? $clog2(ROWS) : 1;
  localparam logic [RW-1:0] LAST_ROW = RW'(ROWS - 1);

  logic               active;
  logic [        1:0] full;
  logic               fill_page;
  logic [     RW-1:0] row;
  logic [TILE_AW-1:0] tile;
  logic [   TOK_AW:0] left;
  logic [       15:0] heads;
  logic               take;
  logic               last_tile;
  logic               last_token;
  logic               last_row;

  assign s_ready    = active & ~full[fill_page];
  assign take       = s_valid & s_ready;
  assign last_tile  = tile == tile_max;
  assign last_token = left == (TOK_AW + 1)'(1);
  assign last_row   = last_token || row == LAST_ROW;
  assign filled     = full[page];

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      active    <= 1'b0;
      full      <= '0;
      fill_page <= 1'b0;
      row       <= '0;
      tile      <= '0;
      left      <= '0;
      heads     <= '0;
    end else if (start) begin
      active <= 1'b1;
      left   <= n_tok;
      heads  <= head_groups;
    end else begin
      if (release_page) full[page] <= 1'b0;
      if (take) begin
        tile <= last_tile ? '0 : tile + 1'b1;
        if (last_tile) begin
          row  <= last_row ? '0 : row + 1'b1;
          left <= last_token ? n_tok : left - 1'b1;
          if (last_row) begin
            full[fill_page] <= 1'b1;
            fill_page       <= ~fill_page;
          end
          if (last_token) begin
            heads <= heads - 1'b1;
            if (heads == 16'd1) active <= 1'b0;
          end
        end
      end
    end
  end

  always_ff @(posedge clk) begin
    if (!rst_n) we <= '0;
    else begin
      for (int r = 0; r < ROWS; r++) we[r] <= take && row == RW'(r);
    end
  end

  always_ff @(posedge clk) begin
    waddr <= {fill_page, tile};
    wdata <= s_data;
  end
endmodule
