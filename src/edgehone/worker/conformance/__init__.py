"""Conformance checks that run in a backend's environment."""
