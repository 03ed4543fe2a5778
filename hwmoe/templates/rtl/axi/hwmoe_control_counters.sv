// What a run has done: its cycles, the images finished, and five words for each engine: cycles running,
// waiting for tokens and held up by memory, instructions completed, values clipped. All count
// modulo their width.
module hwmoe_control_counters #(
    parameter int ENGINES = 5
) (
    input  logic         clk,
    input  logic         rst_n,
    input  logic         prepare,
    input  logic         busy,
    input  logic         image_done,
    input  logic [2*ENGINES-1:0] state,
    input  logic [ENGINES-1:0] done_valid,
    input  logic [32*ENGINES-1:0] done_clipped,
    output logic [ 63:0] cycles,
    output logic [ 31:0] images,
    output logic [160*ENGINES-1:0] engines
);
  logic wrap;  // the low half has become 0

  always_ff @(posedge clk) begin
    if (!rst_n | prepare) begin
      cycles <= '0;
      wrap   <= 1'b0;
      images <= '0;
    end else begin
      cycles[31:0]  <= cycles[31:0] + 32'(busy);
      wrap          <= busy & (cycles[31:0] == '1);
      cycles[63:32] <= cycles[63:32] + 32'(wrap);
      images        <= images + 32'(image_done);
    end
  end

  generate
    for (genvar e = 0; e < ENGINES; e++) begin : g_engine
      logic [31:0] running, waiting, held, completed, clipped;

      assign engines[160*e+:160] = {clipped, completed, held, waiting, running};

      always_ff @(posedge clk) begin
        if (!rst_n | prepare) begin
          running   <= '0;
          waiting   <= '0;
          held      <= '0;
          completed <= '0;
          clipped   <= '0;
        end else begin
          if (state[2*e+:2] == 2'd1) waiting <= waiting + 1'b1;
          if (state[2*e+:2] == 2'd2) running <= running + 1'b1;
          if (state[2*e+:2] == 2'd3) held <= held + 1'b1;
          if (done_valid[e]) begin
            completed <= completed + 1'b1;
            clipped   <= clipped + done_clipped[32*e+:32];
          end
        end
      end
    end
  endgenerate
endmodule
