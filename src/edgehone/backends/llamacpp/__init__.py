"""llama.cpp: GGUF conversion, quantization and inference."""
