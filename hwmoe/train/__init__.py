"""Training with quantization: ternary experts from a dense or a float model."""
