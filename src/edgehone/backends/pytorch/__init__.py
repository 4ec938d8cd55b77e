"""The pytorch backend: runs original checkpoints with transformers, as the reference and the baseline."""
