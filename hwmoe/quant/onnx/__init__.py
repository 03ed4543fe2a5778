"""A quantized model as standard ONNX, for any runtime; needs the extra `onnx`."""
