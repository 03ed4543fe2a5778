// Finds the word that the host reads, in two cycles, or asks the counts of steps for it: words 0 to
// 3, arguments from 4 (0x10) on, status from 128 (0x200) on, steps from 4096 (0x4000) on; else 0.
// What ap_done was is what it is in the cycle of `rd`, in which reading clears it.
module hwmoe_control_read #(
    parameter int ENGINES = 5,
    parameter int ARGS = 16
) (
    input  logic               clk,
    input  logic               rst_n,
    input  logic               rd,
    input  logic [       13:0] rd_addr,
    input  logic [      127:0] block_words,
    input  logic [32*ARGS-1:0] arg_words,
    input  logic [256*ENGINES+511:0] status_words,
    output logic               step_read,
    input  logic               step_got,
    input  logic [       31:0] step_data,
    output logic               got,
    output logic [       31:0] got_data
);
  logic fixed_1, fixed_2;
  logic in_block, in_args, in_status, from_block, from_args, from_status;
  logic [31:0] block_word, arg_word, status_word, word;
  logic [2047:0] args, status;  // padded with zeros to 64 words

  assign args      = 2048'({arg_words, 128'b0});
  assign status    = 2048'(status_words);
  assign step_read = rd & (rd_addr[13:12] != 2'd0);

  assign in_block  = rd_addr[13:2] == '0;
  assign in_args   = (rd_addr[13:6] == 8'd0) & ~in_block;
  assign in_status = rd_addr[13:6] == 8'd2;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      fixed_1 <= 1'b0;
      fixed_2 <= 1'b0;
    end else begin
      fixed_1 <= rd & ~step_read;
      fixed_2 <= fixed_1;
    end
  end

  always_ff @(posedge clk) begin
    if (rd) begin
      block_word  <= block_words[32*rd_addr[1:0]+:32];
      arg_word    <= args[32*rd_addr[5:0]+:32];
      status_word <= status[32*rd_addr[5:0]+:32];
      from_block  <= in_block;
      from_args   <= in_args;
      from_status <= in_status;
    end
    word <= ({32{from_block}} & block_word) | ({32{from_args}} & arg_word)
        | ({32{from_status}} & status_word);
  end

  assign got      = fixed_2 | step_got;
  assign got_data = step_got ? step_data : word;
endmodule
