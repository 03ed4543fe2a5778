// The images in flight by stage: `shift` moves every image on by a stage and puts the next one (or
// none) into stage 0. For an instruction of `stage` for `tasks`: is it null, as there is no image
// or the image's task is not among them?
module hwmoe_fetch_images (
    input  logic        clk,
    input  logic        rst_n,
    input  logic        shift,
    input  logic        present,
    input  logic [ 3:0] task_number,
    input  logic [ 3:0] stage,
    input  logic [15:0] tasks,
    output logic        null_step
);
  logic [15:0] live;
  logic [63:0] numbers;

  assign null_step = ~live[stage] | ~tasks[numbers[{stage, 2'b00}+:4]];

  always_ff @(posedge clk) begin
    if (!rst_n) live <= '0;
    else if (shift) live <= {live[14:0], present};
  end

  always_ff @(posedge clk) begin
    if (shift) numbers <= {numbers[59:0], task_number};
  end
endmodule
