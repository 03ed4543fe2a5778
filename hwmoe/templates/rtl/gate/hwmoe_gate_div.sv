// u = (w * 2^15 + L // 2) // L in 17 cycles, a new one every cycle: a register for the numerator,
// then one bit a stage. The largest weight, 32767, is one of L: so L > 2^14, and u is at most 2^15.
module hwmoe_gate_div #(
    parameter int W = 18  // bits of L, 18 to 31
) (
    input  logic         clk,
    input  logic [ 14:0] weight,
    input  logic [W-1:0] total,
    output logic [ 15:0] score
);
  logic [ 30:0] number_1;
  logic [W-1:0] total_1;

  always_ff @(posedge clk) begin
    number_1 <= {1'b0, weight, 15'b0} + 31'(total[W-1:1]);
    total_1  <= total;
  end

  generate
    for (genvar i = 0; i < 16; i++) begin : g_bit
      /* verilator lint_off UNUSEDSIGNAL */  // what leaves the last stage; bits that are always 0
      logic [ 15:0] rest;
      logic [W-1:0] rem;
      logic [W-1:0] den;
      logic [ 15:0] found_above;
      logic [W+1:0] trial;
      /* verilator lint_on UNUSEDSIGNAL */
      logic [ 15:0] rest_above;
      logic [W-1:0] rem_above;
      logic [W-1:0] den_above;
      logic [ 15:0] found;
      logic [  W:0] next;
      logic         fits;

      if (i == 0) begin : g_first
        assign rest_above  = number_1[15:0];
        assign rem_above   = W'(number_1[30:16]);
        assign den_above   = total_1;
        assign found_above = '0;
      end else begin : g_next
        assign rest_above  = g_bit[i-1].rest;
        assign rem_above   = g_bit[i-1].rem;
        assign den_above   = g_bit[i-1].den;
        assign found_above = g_bit[i-1].found;
      end
      assign next  = {rem_above, rest_above[15]};
      assign trial = {1'b0, next} - {2'b0, den_above};
      assign fits  = ~trial[W+1];

      always_ff @(posedge clk) begin
        rest  <= {rest_above[14:0], 1'b0};
        rem   <= fits ? trial[W-1:0] : next[W-1:0];
        den   <= den_above;
        found <= {found_above[14:0], fits};
      end
    end
  endgenerate

  assign score = g_bit[15].found;
endmodule
