// r = 2^31 // q for 2^15 <= q < 2^16, bit by bit with one register stage a bit: LATENCY = 17, a new
// value every cycle.
module hwmoe_norm_div (
    input  logic        clk,
    input  logic [15:0] q,
    output logic [16:0] r
);
  generate
    for (genvar i = 0; i < 17; i++) begin : g_bit
      /* verilator lint_off UNUSEDSIGNAL */  // what leaves the last stage; bits that are always 0
      logic [15:0] den;
      logic [15:0] rem;
      logic [16:0] found_above;
      logic [17:0] trial;
      /* verilator lint_on UNUSEDSIGNAL */
      logic [15:0] den_above;
      logic [15:0] rem_above;
      logic [16:0] found;
      logic [16:0] twice;
      logic        fits;

      if (i == 0) begin : g_first
        assign den_above   = q;
        assign rem_above   = 16'd1 << 14;
        assign found_above = '0;
      end else begin : g_next
        assign den_above   = g_bit[i-1].den;
        assign rem_above   = g_bit[i-1].rem;
        assign found_above = g_bit[i-1].found;
      end
      assign twice = {rem_above, 1'b0};
      assign trial = {1'b0, twice} - {2'b0, den_above};
      assign fits  = ~trial[17];

      always_ff @(posedge clk) begin
        den   <= den_above;
        rem   <= fits ? trial[15:0] : twice[15:0];
        found <= {found_above[15:0], fits};
      end
    end
  endgenerate

  assign r = g_bit[16].found;
endmodule
