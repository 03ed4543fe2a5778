// What FETCH reads, as commands to its reader, ahead of the data: the loop instruction at `start`;
// after `loop_valid`, for every iteration the first beat of its image's record (if there is such an
// image) and the body of the program.
module hwmoe_fetch_reads #(
    parameter int PORT_BITS = 128
) (
    input  logic        clk,
    input  logic        rst_n,
    input  logic        start,
    input  logic [63:0] program_ptr,
    input  logic [63:0] images,
    input  logic [31:0] n_images,
    input  logic        loop_valid,
    input  logic [31:0] iterations,
    input  logic [15:0] steps,
    input  logic [31:0] image_bytes,
    output logic        c_valid,
    input  logic        c_ready,
    output logic [63:0] c_addr,
    output logic [31:0] c_len
);
  localparam int BEATS = 512 / PORT_BITS;  // of an instruction

  typedef enum logic [1:0] {
    IDLE,
    LOOP,
    IMAGE,
    BODY
  } state_t;
  state_t state;

  logic [31:0] left;  // iterations
  logic [31:0] images_left;
  logic [63:0] image;
  logic [31:0] body;

  assign body = 32'(steps) * BEATS;

  assign c_valid = (state == LOOP) | (state == BODY) | ((state == IMAGE) & (images_left != '0));

  always_comb begin
    case (state)
      IMAGE: c_addr = image;
      BODY: c_addr = program_ptr + 64'd64;
      default: c_addr = program_ptr;
    endcase
    case (state)
      IMAGE: c_len = 32'd1;
      BODY: c_len = body;
      default: c_len = BEATS;
    endcase
  end

  always_ff @(posedge clk) begin
    if (!rst_n) state <= IDLE;
    else begin
      case (state)
        LOOP: if (c_ready) state <= IDLE;
        IMAGE: if (c_ready | (images_left == '0)) state <= BODY;
        BODY: if (c_ready) state <= (left == 32'd1) ? IDLE : IMAGE;
        default: begin
          if (start) state <= LOOP;
          else if (loop_valid & (iterations != '0)) state <= IMAGE;
        end
      endcase
    end
  end

  always_ff @(posedge clk) begin
    if (state == IDLE) begin
      left        <= iterations;
      images_left <= n_images;
      image       <= images;
    end else if ((state == IMAGE) & c_valid & c_ready) begin
      images_left <= images_left - 1'b1;
      image       <= image + 64'(image_bytes);
    end else if ((state == BODY) & c_ready) begin
      left <= left - 1'b1;
    end
  end
endmodule
