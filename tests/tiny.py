"""The edgehone.toml of runs that are no measurement: short requests, and no gate on how quiet the machine is."""

from __future__ import annotations

TINY = """
[gates]
latency_cv = false  # a machine that runs tests is not a quiet one
[workloads.tiny]
prompt_tokens = 32
generated_tokens = 16
"""
