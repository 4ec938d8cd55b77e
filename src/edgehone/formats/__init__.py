"""Readers of file headers: GGUF, ONNX, safetensors and .pt2. They read no weights."""
