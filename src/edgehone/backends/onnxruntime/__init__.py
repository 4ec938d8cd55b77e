"""ONNX Runtime: runs original ONNX models, and the graphs that Olive builds."""
