"""A run becomes an ONNX file that carries its card."""
