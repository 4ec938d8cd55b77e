"""Run a bundle: generate text, or compute the outputs of a graph."""
