"""Predictions of speed and memory for a device of the catalogue that is not at hand."""
