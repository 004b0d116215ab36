"""Reading faces with the exported file: numpy and onnxruntime only."""
