"""Configurations of small runs: a workload of short requests, and an effort that measures little."""

from __future__ import annotations

# As little text and as short rounds as tell the null backend's recipes apart. No time for waiting until other tests
# leave the machine quiet.
SHALLOW = """
[efforts.quick]
windows = 8
window = 64
samples = 64
rounds = 3
seconds = 0.02
budget = 10.0
patience = 0.0
"""
TINY = f"""{SHALLOW}
[gates]
latency_cv = false  # other tests run at the same time
[workloads.tiny]
prompt_tokens = 32
generated_tokens = 16
"""
