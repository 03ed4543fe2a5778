// A stand-in for the machine, to test its bench: the ports of hwmoe_top with two weight ports, the
// HLS registers, and masters that read and write patterns. No arithmetic of a network.
//
// Registers besides the map of HLS (docs/machine.md): 0x300 beats each reader and the writer moves,
// 0x304 fault (see machine_standin_ports.sv), 0x310 + 4*port: checksum of what a port read, gmem first;
// clipped values of step s (0x4000 + 4*s): 7*s + 1.
// Work, as steps: 0 load: gmem reads `params`; 1 linear: w0 and w1 read; 2 vector: a pattern into
// both memories; 3 vector: null; 4 vector: another pattern over it; 5 store: writes to `results`
// once 0, 1 and 4 are done.
module hwmoe_top #(
    parameter int PORT_BITS = 128
) (
    input  logic         ap_clk,
    input  logic         ap_rst_n,
    input  logic [ 15:0] s_axi_control_awaddr,
    input  logic         s_axi_control_awvalid,
    output logic         s_axi_control_awready,
    input  logic [ 31:0] s_axi_control_wdata,
    input  logic [  3:0] s_axi_control_wstrb,
    input  logic         s_axi_control_wvalid,
    output logic         s_axi_control_wready,
    output logic [  1:0] s_axi_control_bresp,
    output logic         s_axi_control_bvalid,
    input  logic         s_axi_control_bready,
    input  logic [ 15:0] s_axi_control_araddr,
    input  logic         s_axi_control_arvalid,
    output logic         s_axi_control_arready,
    output logic [ 31:0] s_axi_control_rdata,
    output logic [  1:0] s_axi_control_rresp,
    output logic         s_axi_control_rvalid,
    input  logic         s_axi_control_rready,
    output logic [ 63:0] m_axi_gmem_awaddr,
    output logic [  7:0] m_axi_gmem_awlen,
    output logic [  2:0] m_axi_gmem_awsize,
    output logic [  1:0] m_axi_gmem_awburst,
    output logic         m_axi_gmem_awvalid,
    input  logic         m_axi_gmem_awready,
    output logic [PORT_BITS-1:0] m_axi_gmem_wdata,
    output logic [PORT_BITS/8-1:0] m_axi_gmem_wstrb,
    output logic         m_axi_gmem_wlast,
    output logic         m_axi_gmem_wvalid,
    input  logic         m_axi_gmem_wready,
    input  logic [  1:0] m_axi_gmem_bresp,
    input  logic         m_axi_gmem_bvalid,
    output logic         m_axi_gmem_bready,
    output logic [ 63:0] m_axi_gmem_araddr,
    output logic [  7:0] m_axi_gmem_arlen,
    output logic [  2:0] m_axi_gmem_arsize,
    output logic [  1:0] m_axi_gmem_arburst,
    output logic         m_axi_gmem_arvalid,
    input  logic         m_axi_gmem_arready,
    input  logic [PORT_BITS-1:0] m_axi_gmem_rdata,
    input  logic [  1:0] m_axi_gmem_rresp,
    input  logic         m_axi_gmem_rlast,
    input  logic         m_axi_gmem_rvalid,
    output logic         m_axi_gmem_rready,
    output logic [ 63:0] m_axi_w0_araddr,
    output logic [  7:0] m_axi_w0_arlen,
    output logic [  2:0] m_axi_w0_arsize,
    output logic [  1:0] m_axi_w0_arburst,
    output logic         m_axi_w0_arvalid,
    input  logic         m_axi_w0_arready,
    input  logic [PORT_BITS-1:0] m_axi_w0_rdata,
    input  logic [  1:0] m_axi_w0_rresp,
    input  logic         m_axi_w0_rlast,
    input  logic         m_axi_w0_rvalid,
    output logic         m_axi_w0_rready,
    output logic [ 63:0] m_axi_w1_araddr,
    output logic [  7:0] m_axi_w1_arlen,
    output logic [  2:0] m_axi_w1_arsize,
    output logic [  1:0] m_axi_w1_arburst,
    output logic         m_axi_w1_arvalid,
    input  logic         m_axi_w1_arready,
    input  logic [PORT_BITS-1:0] m_axi_w1_rdata,
    input  logic [  1:0] m_axi_w1_rresp,
    input  logic         m_axi_w1_rlast,
    input  logic         m_axi_w1_rvalid,
    output logic         m_axi_w1_rready,
    output logic         interrupt
);
  localparam int REGS = 256;  // words of the register file, 0x000 .. 0x3fc
  logic [31:0] regs[0:REGS-1];
  logic start, busy, done, finished;
  logic [31:0] cycles;
  logic [7:0] fault;
  logic [31:0] beats;
  logic [31:0] sum_g, sum_0, sum_1, error;
  logic done_g, done_0, done_1, done_s, error_g, error_0, error_1, error_s;

  // Engines, as the bench sees them.
  logic [4:0] ev_start, ev_done, ev_done_null;
  logic [79:0] ev_start_step, ev_done_step;
  logic [9:0] ev_state;
  logic ev_mac;

  assign fault = regs[193][7:0];
  assign beats = regs[192];

  assign error = error_s ? 32'd3 : error_g | error_0 | error_1 ? 32'd2 : 32'd0;

  // AXI-Lite: an answer the cycle after both halves of a request are there.
  logic aw_got, w_got;
  logic [15:0] aw_addr;
  logic [31:0] w_data;
  logic [15:0] ar_index;
  logic unasked, clipped;
  assign s_axi_control_awready = !aw_got && !s_axi_control_bvalid;
  assign s_axi_control_wready = !w_got && !s_axi_control_bvalid;
  assign s_axi_control_arready = !s_axi_control_rvalid;
  assign s_axi_control_bresp = aw_addr < 16'(4 * REGS) ? 2'b00 : 2'b10;
  assign clipped = ar_index[15:4] == 12'h100;
  assign ar_index = s_axi_control_araddr >> 2;
  assign start = aw_got && w_got && aw_addr == 16'h0 && w_data[0];
  assign interrupt = regs[1][0] && regs[3][0];
  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) begin
      aw_got <= 1'b0;
      w_got <= 1'b0;
      s_axi_control_bvalid <= 1'b0;
      s_axi_control_rvalid <= 1'b0;
      s_axi_control_rresp <= 2'b00;
      busy <= 1'b0;
      done <= 1'b0;
      unasked <= 1'b0;
      cycles <= 32'd0;
      for (int i = 0; i < REGS; i++) regs[i] <= 32'd0;
    end else begin
      if (s_axi_control_awvalid && s_axi_control_awready) begin
        aw_got  <= 1'b1;
        aw_addr <= s_axi_control_awaddr;
      end
      if (s_axi_control_wvalid && s_axi_control_wready) begin
        w_got  <= 1'b1;
        w_data <= s_axi_control_wdata;
      end
      if (s_axi_control_bvalid && s_axi_control_bready) s_axi_control_bvalid <= 1'b0;
      if (aw_got && w_got && fault != 8'd12) begin  // 12: registers are dead after this write
        aw_got <= 1'b0;
        w_got <= 1'b0;
        s_axi_control_bvalid <= 1'b1;
        if (aw_addr == 16'hc) regs[3] <= regs[3] ^ w_data;
        else if (aw_addr < 16'(4 * REGS)) regs[8'(aw_addr>>2)] <= w_data;
      end
      if (s_axi_control_rvalid && s_axi_control_rready) s_axi_control_rvalid <= 1'b0;
      if (s_axi_control_arvalid && s_axi_control_arready) begin
        s_axi_control_rvalid <= 1'b1;
        s_axi_control_rresp  <= ar_index < 16'(REGS) || clipped ? 2'b00 : 2'b10;
        case (ar_index)
          16'h00: s_axi_control_rdata <= {29'd0, !busy, done, busy};
          16'h84: s_axi_control_rdata <= cycles;
          16'h80: s_axi_control_rdata <= fault == 8'd14 ? 32'd0 : error;  // 14: keeps it quiet
          16'hc4: s_axi_control_rdata <= sum_g;
          16'hc5: s_axi_control_rdata <= sum_0;
          16'hc6: s_axi_control_rdata <= sum_1;
          default: s_axi_control_rdata <= regs[8'(ar_index)];
        endcase
        if (clipped) s_axi_control_rdata <= 32'd7 * 32'(ar_index[3:0]) + 32'd1;
        if (ar_index == 16'h00) done <= 1'b0;
      end
      if (start) begin
        busy   <= 1'b1;
        cycles <= 32'd0;
      end
      if (busy) begin
        cycles <= cycles + 32'd1;
        if (finished && fault != 8'd10) begin  // 10: never done
          busy <= 1'b0;
          done <= 1'b1;
          if (regs[2][0]) regs[3][0] <= 1'b1;
        end
      end
      if (fault == 8'd11 && cycles == 32'd100 && !unasked) begin  // 11: an answer nobody asked for
        unasked <= 1'b1;
        s_axi_control_bvalid <= 1'b1;
      end
    end
  end

  standin_reader #(
      .PORT_BITS(PORT_BITS)
  ) i_gmem_reader (
      .clk(ap_clk),
      .rst_n(ap_rst_n),
      .start,
      .base({regs[8], regs[7]}),
      .beats,
      .fault,
      .done(done_g),
      .error(error_g),
      .sum(sum_g),
      .araddr(m_axi_gmem_araddr),
      .arlen(m_axi_gmem_arlen),
      .arsize(m_axi_gmem_arsize),
      .arburst(m_axi_gmem_arburst),
      .arvalid(m_axi_gmem_arvalid),
      .arready(m_axi_gmem_arready),
      .rdata(m_axi_gmem_rdata),
      .rresp(m_axi_gmem_rresp),
      .rlast(m_axi_gmem_rlast),
      .rvalid(m_axi_gmem_rvalid),
      .rready(m_axi_gmem_rready)
  );
  standin_reader #(
      .PORT_BITS(PORT_BITS)
  ) i_w0_reader (
      .clk(ap_clk),
      .rst_n(ap_rst_n),
      .start,
      .base({regs[17], regs[16]}),
      .beats,
      .fault(8'd0),
      .done(done_0),
      .error(error_0),
      .sum(sum_0),
      .araddr(m_axi_w0_araddr),
      .arlen(m_axi_w0_arlen),
      .arsize(m_axi_w0_arsize),
      .arburst(m_axi_w0_arburst),
      .arvalid(m_axi_w0_arvalid),
      .arready(m_axi_w0_arready),
      .rdata(m_axi_w0_rdata),
      .rresp(m_axi_w0_rresp),
      .rlast(m_axi_w0_rlast),
      .rvalid(m_axi_w0_rvalid),
      .rready(m_axi_w0_rready)
  );
  standin_reader #(
      .PORT_BITS(PORT_BITS)
  ) i_w1_reader (
      .clk(ap_clk),
      .rst_n(ap_rst_n),
      .start,
      .base({regs[20], regs[19]}),
      .beats,
      .fault(8'd0),
      .done(done_1),
      .error(error_1),
      .sum(sum_1),
      .araddr(m_axi_w1_araddr),
      .arlen(m_axi_w1_arlen),
      .arsize(m_axi_w1_arsize),
      .arburst(m_axi_w1_arburst),
      .arvalid(m_axi_w1_arvalid),
      .arready(m_axi_w1_arready),
      .rdata(m_axi_w1_rdata),
      .rresp(m_axi_w1_rresp),
      .rlast(m_axi_w1_rlast),
      .rvalid(m_axi_w1_rvalid),
      .rready(m_axi_w1_rready)
  );
  logic got_g, got_w, store_start;
  standin_writer #(
      .PORT_BITS(PORT_BITS)
  ) i_writer (
      .clk(ap_clk),
      .rst_n(ap_rst_n),
      .start(store_start),
      .base({regs[14], regs[13]}),
      .beats,
      .fault,
      .done(done_s),
      .error(error_s),
      .awaddr(m_axi_gmem_awaddr),
      .awlen(m_axi_gmem_awlen),
      .awsize(m_axi_gmem_awsize),
      .awburst(m_axi_gmem_awburst),
      .awvalid(m_axi_gmem_awvalid),
      .awready(m_axi_gmem_awready),
      .wdata(m_axi_gmem_wdata),
      .wstrb(m_axi_gmem_wstrb),
      .wlast(m_axi_gmem_wlast),
      .wvalid(m_axi_gmem_wvalid),
      .wready(m_axi_gmem_wready),
      .bresp(m_axi_gmem_bresp),
      .bvalid(m_axi_gmem_bvalid),
      .bready(m_axi_gmem_bready)
  );

  // Vector: 32 words at 8, twice; 20 idle cycles between, in which the bench can look.
  logic [7:0] tick;
  logic vec_busy, vec_we, stored;
  logic [5:0] vec_addr;
  assign vec_addr = 6'(tick < 8'd32 ? tick + 8'd8 : tick - 8'd44);
  assign vec_we = vec_busy && (tick < 8'd32 || (tick >= 8'd52 && tick < 8'd84));
  logic [ 63:0] act_data;
  logic [127:0] y_data;
  always_comb begin
    for (int l = 0; l < 8; l++) begin
      act_data[8*l+:8] = 8'(tick * 8'd3) + 8'(l);
      y_data[16*l+:16] = {8'hab, tick} - 16'(l * 257);
    end
  end
  hwmoe_act_ram #(
      .LANE_W(8),
      .LANES(8),
      .GRAIN(2),
      .DEPTH(64)
  ) i_act8 (
      .clk(ap_clk),
      .rst_n(ap_rst_n),
      .r_valid(1'b0),
      .r_ready(),
      .r_addr(16'd0),
      .d_valid(),
      .d_data(),
      .w_valid(vec_we),
      .w_ready(),
      .w_addr(16'(vec_addr)),
      .w_mask({4{1'b1}}),
      .w_data(act_data),
      .fault(),
      .fault_addr()
  );
  hwmoe_act_ram #(
      .LANE_W(16),
      .LANES(8),
      .GRAIN(8),
      .DEPTH(64)
  ) i_y (
      .clk(ap_clk),
      .rst_n(ap_rst_n),
      .r_valid(1'b0),
      .r_ready(),
      .r_addr(16'd0),
      .d_valid(),
      .d_data(),
      .w_valid(vec_we),
      .w_ready(),
      .w_addr(16'(vec_addr)),
      .w_mask({1{1'b1}}),
      .w_data(y_data),
      .fault(),
      .fault_addr()
  );

  assign finished = stored;
  assign store_start = busy && got_g && got_w && !vec_busy && !stored && ev_state[9:8] == 2'd1;
  assign ev_mac = m_axi_w0_rvalid && m_axi_w0_rready;
  logic all_w;
  assign all_w = done_0 && done_1;
  always_ff @(posedge ap_clk) begin
    ev_start <= 5'd0;
    ev_done <= 5'd0;
    ev_done_null <= 5'd0;
    if (!ap_rst_n) begin
      ev_state <= 10'd0;
      ev_start_step <= {16'd5, 16'd2, 16'd0, 16'd1, 16'd0};
      ev_done_step <= {16'd5, 16'd2, 16'd0, 16'd1, 16'd0};
      vec_busy <= 1'b0;
      tick <= 8'd0;
      got_g <= 1'b0;
      got_w <= 1'b0;
      stored <= 1'b0;
    end else if (start) begin
      ev_start <= 5'b01011;
      ev_start_step[63:48] <= 16'd2;
      ev_state <= {2'd1, 2'd2, 2'd0, 2'd2, 2'd2};
      vec_busy <= 1'b1;
      tick <= 8'd0;
      got_g <= 1'b0;
      got_w <= 1'b0;
      stored <= 1'b0;
    end else if (busy) begin
      if (done_g && !got_g) begin
        got_g <= 1'b1;
        ev_done[0] <= 1'b1;
        ev_state[1:0] <= 2'd0;
      end
      if (all_w && !got_w) begin
        got_w <= 1'b1;
        ev_done[1] <= 1'b1;
        ev_state[3:2] <= 2'd0;
      end
      if (vec_busy) begin
        tick <= tick + 8'd1;
        if (tick == 8'd32) begin
          ev_done[3] <= 1'b1;
          ev_done_step[63:48] <= 16'd2;
        end
        if (tick == 8'd40) begin
          ev_done[3] <= 1'b1;
          ev_done_null[3] <= 1'b1;
          ev_done_step[63:48] <= 16'd3;
        end
        if (tick == 8'd51) begin
          ev_start[3] <= 1'b1;
          ev_start_step[63:48] <= 16'd4;
        end
        if (tick == 8'd84) begin
          ev_done[3] <= 1'b1;
          ev_done_step[63:48] <= 16'd4;
          ev_state[7:6] <= 2'd0;
          vec_busy <= 1'b0;
        end
      end
      if (store_start) begin
        ev_start[4] <= 1'b1;
        ev_state[9:8] <= 2'd3;
      end
      if (done_s && ev_state[9:8] == 2'd3) begin
        ev_done[4] <= 1'b1;
        ev_state[9:8] <= 2'd0;
        stored <= 1'b1;
      end
    end
  end
endmodule
