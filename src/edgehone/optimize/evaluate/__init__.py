"""Chapters of a run that build candidates, check their parity with the original, score and measure them."""
