// R = (C * 2^n) // L with n = bits(L), and e = n + f - 15, for one row: L is shifted up to 17 bits
// (4 steps), then (C * 2^17) // L is found bit by bit (17 steps). The owner drives the steps:
// `load`, then `norm` = 8, 4, 2, 1, then `step` for 17 cycles. C < 2^16 <= shifted L.
module hwmoe_attn_recip (
    input  logic        clk,
    input  logic        load,
    input  logic [ 3:0] norm,
    input  logic        step,
    input  logic [16:0] sum,
    input  logic [15:0] c,
    input  logic [ 4:0] f,
    output logic [16:0] r,
    output logic [ 4:0] e
);
  logic [16:0] den;
  logic [16:0] rem;
  logic [17:0] twice;
  logic [17:0] trial;
  logic        fits;

  assign twice = {rem, 1'b0};
  assign trial = twice - {1'b0, den};
  assign fits  = ~trial[17];

  always_ff @(posedge clk) begin
    if (load) begin
      den <= sum;
      rem <= {1'b0, c};
      e   <= f + 5'd2;
    end
    if (norm[3] && den[16:9] == '0) begin
      den <= {den[8:0], 8'b0};
      e   <= e - 5'd8;
    end
    if (norm[2] && den[16:13] == '0) begin
      den <= {den[12:0], 4'b0};
      e   <= e - 5'd4;
    end
    if (norm[1] && den[16:15] == '0) begin
      den <= {den[14:0], 2'b0};
      e   <= e - 5'd2;
    end
    if (norm[0] && !den[16]) begin
      den <= {den[15:0], 1'b0};
      e   <= e - 5'd1;
    end
    if (step) begin
      rem <= fits ? trial[16:0] : twice[16:0];
      r   <= {r[15:0], fits};
    end
  end
endmodule
