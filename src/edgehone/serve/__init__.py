"""Serve bundles over HTTP: the OpenAI API, health, readiness and metrics."""
