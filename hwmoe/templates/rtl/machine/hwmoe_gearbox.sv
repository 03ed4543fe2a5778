// A stream in words of FROM bits into one in words of TO bits, lowest bits first; the greater is a
// power-of-two multiple of the smaller. `clear` drops what is inside and what is offered with it.
module hwmoe_gearbox #(
    parameter int FROM = 128,
    parameter int TO = 64
) (
    input  logic            clk,
    input  logic            rst_n,
    input  logic            clear,
    input  logic            s_valid,
    output logic            s_ready,
    input  logic [FROM-1:0] s_data,
    output logic            m_valid,
    input  logic            m_ready,
    output logic [  TO-1:0] m_data
);
  logic accept;
  assign accept = s_valid & s_ready;

  generate
    if (FROM > TO) begin : g_split
      localparam int N = FROM / TO;
      localparam int CW = $clog2(N);
      logic [FROM-1:0] word;
      logic [CW-1:0] part;
      logic last;

      assign m_data  = word[TO-1:0];
      assign last    = m_ready & (part == CW'(N - 1));
      assign s_ready = ~m_valid | last;

      always_ff @(posedge clk) begin
        if (!rst_n || clear) begin
          m_valid <= 1'b0;
          part    <= '0;
        end else begin
          m_valid <= accept | (m_valid & ~last);
          if (m_valid & m_ready) part <= part + 1'b1;
        end
      end

      always_ff @(posedge clk) begin
        if (accept) word <= s_data;
        else if (m_ready) word <= FROM'(word >> TO);
      end
    end else if (FROM < TO) begin : g_join
      localparam int N = TO / FROM;
      localparam int CW = $clog2(N);
      logic [CW-1:0] part;

      assign s_ready = ~m_valid | m_ready;

      always_ff @(posedge clk) begin
        if (!rst_n || clear) begin
          m_valid <= 1'b0;
          part    <= '0;
        end else begin
          if (accept) part <= part + 1'b1;
          m_valid <= (accept & (part == CW'(N - 1))) | (m_valid & ~m_ready);
        end
      end

      always_ff @(posedge clk) begin
        if (accept) m_data <= {s_data, m_data[TO-1:FROM]};
      end
    end else begin : g_same
      assign s_ready = ~m_valid | m_ready;

      always_ff @(posedge clk) begin
        if (!rst_n || clear) m_valid <= 1'b0;
        else m_valid <= accept | (m_valid & ~m_ready);
      end

      always_ff @(posedge clk) begin
        if (accept) m_data <= s_data;
      end
    end
  endgenerate
endmodule
