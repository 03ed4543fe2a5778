// For the linter: a width that does not fit and a signal nobody reads.
module untidy (
    input  logic [7:0] a,
    output logic [3:0] y
);
  logic unread;
  assign unread = a[0];
  assign y = a + 8'd1;
endmodule
