"""Throughput: samples a second that a graph takes at the batch that serves it best (worker side, and its figure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgehone.core.figure import Figure
from edgehone.evaluation.statistics import mean_interval

if TYPE_CHECKING:
    pass


def figure(facts: Mapping[str, Any]) -> Figure:
    """`throughput_per_s`: samples a second at the best batch, in one process."""
    if not facts["again"]:
        reasons = "; ".join(f"batch {size}: {why}" for size, why in facts["failed"].items())
        return Figure.missing(f"no batch could be run: {reasons}", "samples/s")
    return mean_interval(facts["again"]).figure("samples/s", least=0.0)
