// Fills the activation memory and the token list of one command. `start` hands over the command;
// `idle` is high when all its beats have been taken. `x_ptr` is the next word to be written, and
// `list_groups` the number of complete groups of T_TOK rows; they count only while loading.
module hwmoe_linear_loader #(
    parameter int T_IN = 16,
    parameter int T_TOK = 1,
    parameter int XW = 9,
    parameter int GW = 6
) (
    input  logic                clk,
    input  logic                rst_n,
    input  logic                start,
    input  logic [        15:0] n_tok,
    input  logic [        15:0] n_list,
    input  logic [        15:0] in_tiles,
    input  logic [      XW-1:0] x_base,
    input  logic                load_x,
    input  logic                gather,
    output logic                idle,
    input  logic                x_valid,
    output logic                x_ready,
    input  logic [  8*T_IN-1:0] x_data,
    output logic                x_we,
    output logic [      XW-1:0] x_waddr,
    output logic [  8*T_IN-1:0] x_wdata,
    output logic [        XW:0] x_ptr,
    output logic                x_all,
    input  logic                list_valid,
    output logic                list_ready,
    input  logic [      XW-1:0] list_data,
    output logic [   T_TOK-1:0] list_we,
    output logic [      GW-1:0] list_waddr,
    output logic [      XW-1:0] list_wdata,
    output logic [        GW:0] list_groups,
    output logic                list_all
);
  logic              x_active;
  logic [      15:0] tok_total;
  logic [      15:0] tok_left;
  logic [      15:0] tiles_left;
  logic              list_active;
  logic [      15:0] list_left;
  logic [ T_TOK-1:0] lane;

  assign idle    = ~x_active & ~list_active;

  assign x_ready = x_active;
  assign x_we    = x_active & x_valid;
  assign x_waddr = x_ptr[XW-1:0];
  assign x_wdata = x_data;
  assign x_all   = ~x_active;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      x_active <= 1'b0;
    end else if (start) begin
      x_active <= load_x & (n_tok != '0) & (in_tiles != '0);
    end else if (x_we & (tok_left == 16'd1) & (tiles_left == 16'd1)) begin
      x_active <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin
    if (start) begin
      tok_total  <= n_tok;
      tok_left   <= n_tok;
      tiles_left <= in_tiles;
      x_ptr      <= {1'b0, x_base};
    end else if (x_we) begin
      x_ptr <= x_ptr + 1'b1;
      if (tok_left == 16'd1) begin
        tok_left   <= tok_total;
        tiles_left <= tiles_left - 1'b1;
      end else begin
        tok_left <= tok_left - 1'b1;
      end
    end
  end

  assign list_ready = list_active;
  assign list_we    = (list_active & list_valid) ? lane : '0;
  assign list_waddr = list_groups[GW-1:0];
  assign list_wdata = list_data;
  assign list_all   = ~list_active;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      list_active <= 1'b0;
    end else if (start) begin
      list_active <= gather & (n_list != '0);
    end else if (list_valid & (list_left == 16'd1)) begin
      list_active <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin
    if (start) begin
      list_left   <= n_list;
      list_groups <= '0;
      lane        <= T_TOK'(1);
    end else if (list_active & list_valid) begin
      list_left <= list_left - 1'b1;
      lane      <= T_TOK'({lane, lane[T_TOK-1]});
      if (lane[T_TOK-1]) list_groups <= list_groups + 1'b1;
    end
  end
endmodule
