"""ONNX and QONNX files as `MoEViT`; the packages of the extra `onnx` are imported only here."""
