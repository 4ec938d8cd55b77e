"""Code that several backends use."""
