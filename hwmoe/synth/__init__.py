"""Open synthesis of the SystemVerilog: what it costs in cells of an UltraScale+ part."""
