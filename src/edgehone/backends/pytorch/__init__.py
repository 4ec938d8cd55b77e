"""PyTorch and transformers: runs original checkpoints, as the reference and the baseline."""
