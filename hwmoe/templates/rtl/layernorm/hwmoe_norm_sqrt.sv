// floor(sqrt(v)) of 32 bits, exact, bit by bit with one register stage a bit: LATENCY = 16, a new
// value every cycle. What is left, v - root^2 so far, is at most 2 * root.
module hwmoe_norm_sqrt (
    input  logic        clk,
    input  logic [31:0] v,
    output logic [15:0] root
);
  generate
    for (genvar i = 0; i < 16; i++) begin : g_bit
      /* verilator lint_off UNUSEDSIGNAL */  // what leaves the last stage; bits that are always 0
      logic [31:0] rest;
      logic [16:0] left;
      logic [31:0] rest_above;
      logic [16:0] left_above;
      logic [15:0] found_above;
      logic [18:0] trial;
      /* verilator lint_on UNUSEDSIGNAL */
      logic [15:0] found;
      logic [17:0] next;
      logic        fits;

      if (i == 0) begin : g_first
        assign rest_above  = v;
        assign left_above  = '0;
        assign found_above = '0;
      end else begin : g_next
        assign rest_above  = g_bit[i-1].rest;
        assign left_above  = g_bit[i-1].left;
        assign found_above = g_bit[i-1].found;
      end
      assign next  = {left_above[15:0], rest_above[31:30]};
      assign trial = {1'b0, next} - {1'b0, found_above, 2'b01};
      assign fits  = ~trial[18];

      always_ff @(posedge clk) begin
        rest  <= {rest_above[29:0], 2'b0};
        left  <= fits ? trial[16:0] : next[16:0];
        found <= {found_above[14:0], fits};
      end
    end
  endgenerate

  assign root = g_bit[15].found;
endmodule
