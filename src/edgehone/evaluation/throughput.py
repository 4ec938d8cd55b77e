"""Throughput of a graph at its best batch size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.core.figure import Figure
from edgehone.evaluation.statistics import mean_interval


def figure(facts: Mapping[str, Any]) -> Figure:
    """Return `throughput_per_s`: samples per second at the best batch size, in one process."""
    if not facts["again"]:
        reasons = "; ".join(f"batch {size}: {why}" for size, why in facts["failed"].items())
        return Figure.missing(f"no batch size could be run: {reasons}", "samples/s")
    return mean_interval(facts["again"]).figure("samples/s", least=0.0)
