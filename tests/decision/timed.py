"""Candidates with rounds, for tests of comparisons by pairs."""

from __future__ import annotations

from collections.abc import Sequence

from edgehone.core.figure import Figure
from edgehone.decision import pairs
from edgehone.decision.decision import Candidate
from edgehone.evaluation.statistics import rounds_interval


def timed(
    key: str, latencies: Sequence[float], size: int = 100_000_000, memory: float = 3e8, kl: float = 0.001
) -> Candidate:
    """Return a candidate of the given milliseconds a request in rounds "0", "1", …, a second apart."""
    figures = {
        "workload_latency_ms": rounds_interval([[latency] for latency in latencies]).figure("ms"),
        "requests_per_s": rounds_interval([[1000 / latency] for latency in latencies]).figure("requests/s"),
        "latency_cv": Figure(0.03, n=5),
        "peak_memory_bytes": Figure(memory, n=1, unit="bytes"),
        "accuracy_kept": Figure(0.99, 0.988, 0.992, 24, "ratio"),
        "kl_mean": Figure(kl, 0.9 * kl, 1.1 * kl, 24, "nats"),
    }
    rounds = {str(i): [60.0 + i, latency, 1000 / latency] for i, latency in enumerate(latencies)}
    return Candidate(key, key, {"name": key}, bytes=size, figures=figures, facts={pairs.ROUNDS: rounds})
