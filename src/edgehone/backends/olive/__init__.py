"""Microsoft Olive with ONNX Runtime GenAI for language models, and Olive passes for ONNX graphs."""
