// Registers that the host writes before a run: 64-bit pointers at 0x10 + 12*i (low, high, nothing):
// program, params, images, results, weights_0 .. weights_N-1, then the 32 bits of n_images.
//   words        all of them as words from 0x10 on, to be read
//   unaligned    bit i: pointer i is not a multiple of 4096 (a cycle late)
//   none         n_images is 0 (a cycle late)
module hwmoe_control_args #(
    parameter int WEIGHTS = 1,
    parameter int POINTERS = 4 + WEIGHTS,
    parameter int WORDS = 3 * POINTERS + 1
) (
    input  logic                   clk,
    input  logic                   rst_n,
    input  logic                   wr,
    input  logic [           13:0] wr_addr,
    input  logic [           31:0] wr_data,
    input  logic [            3:0] wr_strb,
    output logic [   32*WORDS-1:0] words,
    output logic [64*POINTERS-1:0] pointers,
    output logic [           31:0] n_images,
    output logic [   POINTERS-1:0] unaligned,
    output logic                   none
);
  localparam int FIRST = 4;  // word address

  assign n_images = words[32*(WORDS-1)+:32];

  generate
    for (genvar i = 0; i < WORDS; i++) begin : g_word
      if (i % 3 == 2) begin : g_gap
        assign words[32*i+:32] = '0;
      end else begin : g_register
        logic [31:0] value;
        logic mine;

        assign words[32*i+:32] = value;
        assign mine            = wr & (wr_addr == 14'(FIRST + i));

        always_ff @(posedge clk) begin
          if (!rst_n) value <= '0;
          else if (mine) begin
            for (int b = 0; b < 4; b++) begin
              if (wr_strb[b]) value[8*b+:8] <= wr_data[8*b+:8];
            end
          end
        end
      end
    end

    for (genvar i = 0; i < POINTERS; i++) begin : g_pointer
      assign pointers[64*i+:64] = words[96*i+:64];

      always_ff @(posedge clk) begin
        unaligned[i] <= words[96*i+:12] != '0;
      end
    end
  endgenerate

  always_ff @(posedge clk) begin
    none <= n_images == '0;
  end
endmodule
