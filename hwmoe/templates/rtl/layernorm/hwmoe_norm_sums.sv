// S = sum of x and Q = sum of x^2 of every token, LANES channels a cycle. `done` is high for the
// one cycle in which both are complete: 2 + clog2(LANES) after the token's last beat.
module hwmoe_norm_sums #(
    parameter int LANES = 8
) (
    input  logic                clk,
    input  logic                rst_n,
    input  logic                valid,
    input  logic                first,
    input  logic                last,
    input  logic [16*LANES-1:0] x,
    output logic                done,
    output logic [        25:0] s,
    output logic [        40:0] q
);
  localparam int LEVELS = $clog2(LANES);

  logic [    16*LANES-1:0] x_1;
  logic [    32*LANES-1:0] square_1;
  logic [   16+LEVELS-1:0] sum_x;
  logic [   32+LEVELS-1:0] sum_square;
  logic                    valid_sum;
  logic                    first_sum;
  logic                    last_sum;

  always_ff @(posedge clk) begin
    x_1 <= x;
    for (int l = 0; l < LANES; l++) begin
      square_1[32*l+:32] <= $signed(x[16*l+:16]) * $signed(x[16*l+:16]);
    end
  end

  hwmoe_adder_tree #(
      .N(LANES),
      .W(16)
  ) i_sum (
      .clk,
      .terms(x_1),
      .sum  (sum_x)
  );

  hwmoe_adder_tree #(
      .N(LANES),
      .W(32)
  ) i_squares (
      .clk,
      .terms(square_1),
      .sum  (sum_square)
  );

  hwmoe_delay #(
      .W(3),
      .N(1 + LEVELS)
  ) i_marks (
      .clk,
      .rst_n,
      .d({first, last, valid}),
      .q({first_sum, last_sum, valid_sum})
  );

  always_ff @(posedge clk) begin
    if (!rst_n) done <= 1'b0;
    else done <= valid_sum & last_sum;
  end

  always_ff @(posedge clk) begin
    if (valid_sum) begin
      s <= 26'($signed(sum_x)) + (first_sum ? '0 : s);
      q <= 41'(sum_square) + (first_sum ? '0 : q);
    end
  end
endmodule
