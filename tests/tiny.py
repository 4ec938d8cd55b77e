"""An edgehone.toml for tests: a workload of short requests, and no gate on the variation of the latency."""

from __future__ import annotations

TINY = """
[gates]
latency_cv = false  # other tests run at the same time
[workloads.tiny]
prompt_tokens = 32
generated_tokens = 16
"""
