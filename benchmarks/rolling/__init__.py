"""Simulated and real releases for `make bench-rollout`."""
