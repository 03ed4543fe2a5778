// Order of the epilogue. For each chunk of T_EPI channels, for each listed token, one read of the
// accumulators a cycle: `get` (one-hot over banks, bank = lane * CHUNKS + chunk) with its page and
// address, `get_first` at the first token of a chunk. Waits for a complete page, for the chunk's
// parameters (`param_push` tells of each beat that arrived), and for room in the output FIFO
// (`room_back` returns one place). Before a command's first read its table is loaded; after its
// last, when everything has passed the pipeline, `report` pushes its status.
module hwmoe_linear_drain #(
    parameter int T_TOK = 1,
    parameter int CHUNKS = 2,
    parameter int GW = 6,
    parameter int ROOM = 32,
    parameter int PARAMS = 8,
    parameter int FLUSH = 20
) (
    input  logic                    clk,
    input  logic                    rst_n,
    input  logic                    cmd_valid,
    output logic                    cmd_ready,
    input  logic [            15:0] n_list,
    input  logic [            15:0] chunks,
    input  logic [             1:0] shift,
    input  logic                    gelu,
    input  logic                    load_table,
    input  logic                    wide,
    output logic [             1:0] cmd_shift,
    output logic                    cmd_gelu,
    output logic                    cmd_wide,
    input  logic                    table_valid,
    output logic                    table_ready,
    output logic [             7:0] table_addr,
    input  logic [             1:0] page_full,
    output logic [             1:0] page_release,
    input  logic                    param_push,
    input  logic                    room_back,
    output logic [T_TOK*CHUNKS-1:0] get,
    output logic                    get_valid,
    output logic                    get_first,
    output logic                    get_page,
    output logic [          GW-1:0] get_addr,
    output logic                    clear,
    output logic                    report
);
  localparam int RW = $clog2(ROOM + 1);
  localparam int PW = $clog2(PARAMS + 1);
  localparam int FW = $clog2(FLUSH + 1);
  localparam logic [2:0] IDLE = 3'd0;
  localparam logic [2:0] TABLE = 3'd1;
  localparam logic [2:0] RUN = 3'd2;
  localparam logic [2:0] WAIT = 3'd3;
  localparam logic [2:0] REPORT = 3'd4;

  logic [      2:0] state;
  logic [      2:0] work;
  logic [     15:0] listed;
  logic [     15:0] tok_left;
  logic [     15:0] chunks_left;
  logic [T_TOK-1:0] lane;
  logic [CHUNKS-1:0] chunk;
  logic [   GW-1:0] group;
  logic             page;
  logic             first;
  logic [   RW-1:0] room;
  logic             has_room;
  logic [   PW-1:0] params;
  logic             has_params;
  logic [   FW-1:0] flush;
  logic             step;
  logic             last_tok;
  logic             last_chunk;

  assign cmd_ready   = state == IDLE;
  assign table_ready = state == TABLE;
  assign step        = (state == RUN) & page_full[page] & (~first | has_params) & has_room;
  assign last_tok    = tok_left == 16'd1;
  assign last_chunk  = chunks_left == 16'd1;
  assign clear       = state == IDLE;
  assign report      = (state == REPORT) & has_room;
  assign page_release = (step & last_tok & (last_chunk | chunk[CHUNKS-1])) ? {page, ~page} : 2'b00;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      state <= IDLE;
      page  <= 1'b0;
    end else begin
      unique case (state)
        IDLE: begin
          if (cmd_valid) begin
            if (load_table) state <= TABLE;
            else state <= (n_list != '0) ? RUN : REPORT;
          end
        end
        TABLE: if (table_valid & (table_addr == 8'd255)) state <= work;
        RUN: if (step & last_tok & last_chunk) state <= WAIT;
        WAIT: if (flush == '0) state <= REPORT;
        default: if (has_room) state <= IDLE;
      endcase
      if (page_release != '0) page <= ~page;
    end
  end

  always_ff @(posedge clk) begin
    if (state == IDLE) begin
      work        <= (n_list != '0) ? RUN : REPORT;
      listed      <= n_list;
      cmd_shift   <= shift;
      cmd_gelu    <= gelu;
      cmd_wide    <= wide;
      tok_left    <= n_list;
      chunks_left <= chunks;
      lane        <= T_TOK'(1);
      chunk       <= CHUNKS'(1);
      group       <= '0;
      first       <= 1'b1;
    end else if (step) begin
      first <= last_tok;
      lane  <= last_tok ? T_TOK'(1) : T_TOK'({lane, lane[T_TOK-1]});
      if (last_tok) begin
        tok_left    <= listed;
        group       <= '0;
        chunks_left <= chunks_left - 1'b1;
        chunk       <= CHUNKS'({chunk, chunk[CHUNKS-1]});
      end else begin
        tok_left <= tok_left - 1'b1;
        if (lane[T_TOK-1]) group <= group + 1'b1;
      end
    end
    table_addr <= (state == TABLE) ? table_addr + 8'(table_valid) : '0;
    flush      <= (state == WAIT) ? flush - 1'b1 : FW'(FLUSH);
  end

  // Places left in the output FIFO, and parameter beats not yet promised to a chunk.
  always_ff @(posedge clk) begin
    if (!rst_n) begin
      room       <= RW'(ROOM);
      has_room   <= 1'b1;
      params     <= '0;
      has_params <= 1'b0;
    end else begin
      if ((step | report) & ~room_back) begin
        room     <= room - 1'b1;
        has_room <= room != RW'(1);
      end else if (room_back & ~(step | report)) begin
        room     <= room + 1'b1;
        has_room <= 1'b1;
      end
      if (param_push & ~(step & first)) begin
        params     <= params + 1'b1;
        has_params <= 1'b1;
      end else if (step & first & ~param_push) begin
        params     <= params - 1'b1;
        has_params <= params != PW'(1);
      end
    end
  end

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      get       <= '0;
      get_valid <= 1'b0;
    end else begin
      get_valid <= step;
      for (int l = 0; l < T_TOK; l++) begin
        for (int c = 0; c < CHUNKS; c++) get[CHUNKS*l+c] <= step & lane[l] & chunk[c];
      end
    end
    get_first <= first;
    get_page  <= page;
    get_addr  <= group;
  end
endmodule
