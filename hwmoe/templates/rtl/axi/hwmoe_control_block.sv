// What Vitis HLS gives an ap_ctrl_hs block: words 0 (control), 1 (global interrupt enable), 2 and 3
// (interrupt enable and status: bit 0 ap_done, bit 1 ap_ready; a one written toggles the status).
// ap_done and ap_ready are cleared by reading word 0; what `finish` sets in that cycle stays.
//   start    level ap_start, until `finish`; beyond it with auto_restart, but not after an error
//   idle     nothing runs
//   finish   pulse: the run has ended, `failed` says with an error
module hwmoe_control_block (
    input  logic         clk,
    input  logic         rst_n,
    input  logic         wr,
    input  logic [ 13:0] wr_addr,
    /* verilator lint_off UNUSEDSIGNAL */  // all is in the lowest byte
    input  logic [ 31:0] wr_data,
    input  logic [  3:0] wr_strb,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic         rd,
    input  logic [ 13:0] rd_addr,
    output logic [127:0] words,
    output logic         start,
    input  logic         idle,
    input  logic         finish,
    input  logic         failed,
    output logic         interrupt
);
  logic done, ready, restart, global_enable;
  logic [1:0] enable, status;
  logic write, wr_control, wr_global, wr_enable, wr_status, rd_control;

  assign words = {30'b0, status, 30'b0, enable, 31'b0, global_enable,
                  24'b0, restart, 3'b0, ready, idle & ~start, done, start};

  assign write      = wr & wr_strb[0];
  assign wr_control = write & (wr_addr == 14'd0);
  assign wr_global  = write & (wr_addr == 14'd1);
  assign wr_enable  = write & (wr_addr == 14'd2);
  assign wr_status  = write & (wr_addr == 14'd3);
  assign rd_control = rd & (rd_addr == 14'd0);

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      start         <= 1'b0;
      done          <= 1'b0;
      ready         <= 1'b0;
      restart       <= 1'b0;
      global_enable <= 1'b0;
      enable        <= '0;
      status        <= '0;
      interrupt     <= 1'b0;
    end else begin
      if (start) start <= ~finish | (restart & ~failed);
      else start <= wr_control & wr_data[0];
      done  <= finish | (done & ~rd_control);
      ready <= finish | (ready & ~rd_control);
      if (wr_control) restart <= wr_data[7];
      if (wr_global) global_enable <= wr_data[0];
      if (wr_enable) enable <= wr_data[1:0];
      if (finish) status <= status | enable;
      else if (wr_status) status <= status ^ wr_data[1:0];
      interrupt <= global_enable & (status != '0);
    end
  end
endmodule
