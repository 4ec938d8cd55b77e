"""The target `onnxruntime`: a graph for programs that load ONNX Runtime."""
