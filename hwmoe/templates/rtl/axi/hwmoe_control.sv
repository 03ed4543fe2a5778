// The machine's registers behind AXI4-Lite, and the control of its runs (docs/machine.md).
//   pointers     program, params, images, results, weights_0 .. ; to be left alone during a run
//   inner_rst_n  reset of all but this module, before every run and after an error
//   run_start    pulse; run_done: pulse, all is finished
//   halt         memory ports: no further burst; until all of them are `quiet`
//   irq          the interrupt output of HLS
//   e_*          sources of errors, pulses with code, step and detail in slices
//   ev_*         engine e in slice e: state, and pulses of completed instructions with what they
//                clipped. Of one engine, at most 8 of these that clipped in any 200 cycles
//   image_done   pulse
module hwmoe_control #(
    parameter int ENGINES = 5,
    parameter int WEIGHTS = 1,  // at most 15
    parameter int STEPS = 1024,  // of a program, at most 12288
    parameter int SOURCES = 1,
    parameter logic [31:0] FORMAT_VERSION = 0,
    parameter logic [31:0] DIGEST = 0
) (
    input  logic                   clk,
    input  logic                   rst_n,
    input  logic [           15:0] awaddr,
    input  logic                   awvalid,
    output logic                   awready,
    input  logic [           31:0] wdata,
    input  logic [            3:0] wstrb,
    input  logic                   wvalid,
    output logic                   wready,
    output logic [            1:0] bresp,
    output logic                   bvalid,
    input  logic                   bready,
    input  logic [           15:0] araddr,
    input  logic                   arvalid,
    output logic                   arready,
    output logic [           31:0] rdata,
    output logic [            1:0] rresp,
    output logic                   rvalid,
    input  logic                   rready,
    output logic                   irq,
    output logic [           63:0] program_ptr,
    output logic [           63:0] params,
    output logic [           63:0] images,
    output logic [           63:0] results,
    output logic [ 64*WEIGHTS-1:0] weights,
    output logic [           31:0] n_images,
    output logic                   inner_rst_n,
    output logic                   run_start,
    input  logic                   run_done,
    output logic                   halt,
    input  logic                   quiet,
    input  logic [    SOURCES-1:0] e_valid,
    input  logic [  8*SOURCES-1:0] e_code,
    input  logic [ 16*SOURCES-1:0] e_step,
    input  logic [ 32*SOURCES-1:0] e_detail,
    input  logic [  2*ENGINES-1:0] ev_state,
    input  logic [    ENGINES-1:0] ev_done,
    input  logic [ 16*ENGINES-1:0] ev_done_step,
    input  logic [ 32*ENGINES-1:0] ev_done_clipped,
    input  logic                   image_done
);
  localparam int POINTERS = 4 + WEIGHTS;
  localparam int ARGS = 3 * POINTERS + 1;  // words

  logic wr, rd, got;
  logic [13:0] wr_addr, rd_addr;
  logic [31:0] wr_data, got_data;
  logic [3:0] wr_strb;
  logic [127:0] block_words;
  logic [32*ARGS-1:0] arg_words;
  logic [256*ENGINES+511:0] status_words;
  logic [256*ENGINES+383:0] counters;
  logic step_read, step_got;
  logic [31:0] step_data;

  logic [64*POINTERS-1:0] pointers;
  logic [POINTERS-1:0] unaligned;
  logic start, none, prepare, refused, armed, busy, idle, finish, failed, counted;
  logic [7:0] code;
  logic [15:0] step;
  logic [31:0] detail, refused_detail;

  hwmoe_control_lite i_lite (
      .clk,
      .rst_n,
      .awaddr,
      .awvalid,
      .awready,
      .wdata,
      .wstrb,
      .wvalid,
      .wready,
      .bresp,
      .bvalid,
      .bready,
      .araddr,
      .arvalid,
      .arready,
      .rdata,
      .rresp,
      .rvalid,
      .rready,
      .wr,
      .wr_addr,
      .wr_data,
      .wr_strb,
      .rd,
      .rd_addr,
      .got,
      .got_data
  );

  hwmoe_control_block i_block (
      .clk,
      .rst_n,
      .wr,
      .wr_addr,
      .wr_data,
      .wr_strb,
      .rd,
      .rd_addr,
      .words(block_words),
      .start,
      .idle,
      .finish,
      .failed,
      .interrupt(irq)
  );

  hwmoe_control_args #(
      .WEIGHTS(WEIGHTS)
  ) i_args (
      .clk,
      .rst_n,
      .wr,
      .wr_addr,
      .wr_data,
      .wr_strb,
      .words(arg_words),
      .pointers,
      .n_images,
      .unaligned,
      .none
  );

  assign {weights, results, images, params, program_ptr} = pointers;

  hwmoe_control_run i_run (
      .clk,
      .rst_n,
      .start,
      .bad(unaligned != '0),
      .none,
      .run_done,
      .failed,
      .quiet,
      .counted,
      .prepare,
      .refused,
      .run_start,
      .halt,
      .inner_rst_n,
      .armed,
      .busy,
      .idle,
      .finish
  );

  always_comb begin
    refused_detail = '0;
    for (int i = POINTERS - 1; i >= 0; i--) begin
      if (unaligned[i]) refused_detail = 32'(i);
    end
  end

  hwmoe_control_error #(
      .SOURCES(SOURCES)
  ) i_error (
      .clk,
      .rst_n,
      .prepare,
      .armed,
      .refused,
      .refused_detail,
      .e_valid,
      .e_code,
      .e_step,
      .e_detail,
      .failed,
      .code,
      .step,
      .detail
  );

  hwmoe_control_events #(
      .ENGINES(ENGINES),
      .STEPS(STEPS),
      .FORMAT_VERSION(FORMAT_VERSION),
      .DIGEST(DIGEST)
  ) i_events (
      .clk,
      .rst_n,
      .prepare,
      .busy,
      .image_done,
      .ev_state,
      .ev_done,
      .ev_done_step,
      .ev_done_clipped,
      .counted,
      .counters,
      .step_read,
      .step_addr({rd_addr[13:12] - 2'd1, rd_addr[11:0]}),
      .step_got,
      .step_data
  );

  assign status_words = {counters, 32'b0, detail, 16'b0, step, 24'b0, code};

  hwmoe_control_read #(
      .ENGINES(ENGINES),
      .ARGS(ARGS)
  ) i_read (
      .clk,
      .rst_n,
      .rd,
      .rd_addr,
      .block_words,
      .arg_words,
      .status_words,
      .step_read,
      .step_got,
      .step_data,
      .got,
      .got_data
  );
endmodule
