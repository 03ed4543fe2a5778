"""Projects for Vivado and Vitis: rendered, run where they are installed, their reports read."""
