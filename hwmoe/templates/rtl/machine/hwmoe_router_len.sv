// Lengths of the token lists of every slot and expert, a copy of a memory for each who reads. `clear` makes all
// of `slot` 0: at once to readers for experts that the slot then has not, one expert a cycle for its
// `experts`; the first `put` comes later than that. A `put` to (slot, expert) gives the entry's
// index a cycle after, as `put_index` with `put_1`; one may come every cycle.
// The list of (slot, expert) is `length` long, a cycle after; that of (len_slot, len_expert) is
// `len` long, two cycles after.
module hwmoe_router_len #(
    parameter int READERS = 1,
    parameter int SLOTS = 2,
    parameter int EXPERT_W = 4,
    parameter int LEN_W = 8,
    parameter int BLOCK = 0,
    parameter int NW = EXPERT_W + $clog2(SLOTS)
) (
    input  logic             clk,
    input  logic             rst_n,
    input  logic [      3:0] slot,
    input  logic [      7:0] expert,
    input  logic             clear,
    input  logic [     15:0] experts,
    input  logic             put,
    output logic             put_1,
    output logic [LEN_W-1:0] put_index,
    output logic [     15:0] length,
    input  logic [ 4*READERS-1:0] len_slot,
    input  logic [ 8*READERS-1:0] len_expert,
    output logic [16*READERS-1:0] len
);
  logic [       255:0] bounds;  // experts of each of 16 slots; 0 of a slot that is not there
  logic                clearing;
  logic [EXPERT_W-1:0] sweep;
  logic [      NW-1:0] entry;
  logic [      NW-1:0] entry_1;
  logic                known_1;
  logic                put_2;
  logic [      NW-1:0] entry_2;
  logic [   LEN_W-1:0] next_2;
  logic [   LEN_W-1:0] length_1;
  logic                we;
  logic [      NW-1:0] waddr;
  logic [   LEN_W-1:0] wdata;

  generate
    for (genvar s = 0; s < 16; s++) begin : g_bound
      if (s < SLOTS) begin : g_slot
        logic [8:0] bound;
        assign bounds[16*s+:16] = {7'b0, bound};
        always_ff @(posedge clk) begin
          if (!rst_n) bound <= '0;
          else if (clear & (slot == 4'(s))) bound <= experts[8:0];
        end
      end else begin : g_none
        assign bounds[16*s+:16] = '0;
      end
    end
  endgenerate

  always_ff @(posedge clk) begin
    if (!rst_n) clearing <= 1'b0;
    else if (clear) clearing <= experts != '0;
    else if (16'(sweep) + 1'b1 == bounds[16*slot+:16]) clearing <= 1'b0;
  end

  // A put right after one to the same list does not find its length in the memory yet.
  assign entry     = NW'({slot, expert[EXPERT_W-1:0]});
  assign put_index = (put_2 & (entry_2 == entry_1)) ? next_2 : length_1;
  assign length    = known_1 ? 16'(length_1) : '0;
  assign we        = clearing | put_1;
  assign waddr     = clearing ? NW'({slot, sweep}) : entry_1;
  assign wdata     = clearing ? '0 : put_index + 1'b1;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      put_1 <= 1'b0;
      put_2 <= 1'b0;
    end else begin
      put_1 <= put;
      put_2 <= put_1;
    end
  end

  always_ff @(posedge clk) begin
    sweep          <= clear ? '0 : sweep + 1'b1;
    entry_1        <= entry;
    known_1        <= 16'(expert) < bounds[16*slot+:16];
    entry_2        <= entry_1;
    next_2         <= wdata;
  end

  hwmoe_ram_sdp #(
      .W(LEN_W),
      .DEPTH(SLOTS << EXPERT_W),
      .BLOCK(BLOCK),
      .AW(NW)
  ) i_own (
      .clk,
      .we,
      .waddr,
      .wdata,
      .re(1'b1),
      .raddr(entry),
      .rdata(length_1)
  );

  generate
    for (genvar r = 0; r < READERS; r++) begin : g_reader
      logic [      3:0] slot_1;
      logic [      7:0] expert_1;
      logic             known_2;
      logic [LEN_W-1:0] length_2;

      assign len[16*r+:16] = known_2 ? 16'(length_2) : '0;

      always_ff @(posedge clk) begin
        slot_1   <= len_slot[4*r+:4];
        expert_1 <= len_expert[8*r+:8];
        known_2  <= 16'(expert_1) < bounds[16*slot_1+:16];
      end

      hwmoe_ram_sdp #(
          .W(LEN_W),
          .DEPTH(SLOTS << EXPERT_W),
          .BLOCK(BLOCK),
          .AW(NW)
      ) i_asked (
          .clk,
          .we,
          .waddr,
          .wdata,
          .re(1'b1),
          .raddr(NW'({slot_1, expert_1[EXPERT_W-1:0]})),
          .rdata(length_2)
      );
    end
  endgenerate
endmodule
