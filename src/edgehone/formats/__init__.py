"""Parsers of file headers: GGUF, ONNX, .pt2 and safetensors, on the standard library alone. They read no weights."""
