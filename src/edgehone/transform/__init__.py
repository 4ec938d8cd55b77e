"""Changes to a model before and during quantization: precision assignment and structural pruning."""
