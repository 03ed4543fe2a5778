// A run from ap_start to its end. Before it, a few cycles of reset for the inside; after it, or on
// an error, the memory ports are halted until they are quiet; after an error the inside is reset
// again.
//   prepare    pulse: errors and counts of the run before are cleared
//   bad        a pointer is not aligned; none: there is no image. Both end the run at once
//   counted    no count of clipped values is still under way
//   armed      errors count
//   busy       the run's cycles
module hwmoe_control_run (
    input  logic clk,
    input  logic rst_n,
    input  logic start,
    input  logic bad,
    input  logic none,
    input  logic run_done,
    input  logic failed,
    input  logic quiet,
    input  logic counted,
    output logic prepare,
    output logic refused,
    output logic run_start,
    output logic halt,
    output logic inner_rst_n,
    output logic armed,
    output logic busy,
    output logic idle,
    output logic finish
);
  typedef enum logic [2:0] {
    IDLE,
    CHECK,
    RESET,
    SETTLE,
    RUN,
    DRAIN,
    CLEAR,
    FINISH
  } state_t;
  state_t state;

  localparam logic [3:0] SHORT = 4'd7;  // cycles - 1 of reset, or until all have noticed something
  localparam logic [3:0] LONG = 4'd15;

  logic [3:0] cycles;  // in this state, at most LONG

  assign idle      = state == IDLE;
  assign prepare   = idle & start;
  assign refused   = (state == CHECK) & bad;
  assign run_start = (state == SETTLE) & (cycles == SHORT);
  assign finish    = state == FINISH;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      state       <= IDLE;
      cycles      <= '0;
      halt        <= 1'b0;
      inner_rst_n <= 1'b0;
      armed       <= 1'b0;
      busy        <= 1'b0;
    end else begin
      cycles <= (cycles == LONG) ? LONG : cycles + 1'b1;
      case (state)
        IDLE: if (start) state <= CHECK;
        CHECK: begin
          state  <= (bad | none) ? FINISH : RESET;
          cycles <= '0;
        end
        RESET:
        if (cycles == SHORT) begin
          state  <= SETTLE;
          cycles <= '0;
        end
        SETTLE: if (run_start) state <= RUN;
        RUN:
        if (run_done | failed) begin
          state  <= DRAIN;
          cycles <= '0;
        end
        DRAIN:
        if ((cycles >= SHORT) & quiet & counted) begin
          state  <= failed ? CLEAR : FINISH;
          cycles <= '0;
        end
        CLEAR: if ((cycles == LONG) & counted) state <= FINISH;
        default: state <= IDLE;
      endcase
      halt        <= (state == DRAIN) | (state == CLEAR);
      inner_rst_n <= (state != RESET) & (state != CLEAR);
      armed       <= (state == RUN) | (state == DRAIN);
      busy        <= ~idle & ~finish;
    end
  end
endmodule
