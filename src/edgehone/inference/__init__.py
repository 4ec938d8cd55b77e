"""Inference with a bundle: generate text, or compute the outputs of a graph."""
