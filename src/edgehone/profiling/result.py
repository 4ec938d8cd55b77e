"""A profile: what was seen of a bundle while it answered, over time and in figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgehone.backends.sessions import (
    OperatorTime,
)
from edgehone.core.figure import Figure
from edgehone.profiling.bottlenecks import Bottleneck


@dataclass(frozen=True)
class Moment:
    """What a stretch of the timeline showed; `at` is seconds since the requests began (below 0: still loading)."""

    at: float
    cores: tuple[float, ...]  # share of each processor that was busy
    anonymous: int | None  # bytes
    file_mapped: int | None
    mhz: float | None  # mean over the cores
    warmest_c: float | None
    switches_per_s: float | None  # of the process, voluntary and not


@dataclass(frozen=True)
class Profile:
    """`error` and `log` tell of a process that did not live to the end; the rest is what was seen until then."""

    bundle: str
    candidate: str
    device: Mapping[str, Any]
    workload: Mapping[str, Any]
    seconds: float
    concurrency: int
    figures: Mapping[str, Figure]
    bottlenecks: tuple[Bottleneck, ...]
    timeline: tuple[Moment, ...]
    slices: tuple[Mapping[str, float], ...]
    operators: tuple[OperatorTime, ...] = ()
    operators_reason: str | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    log: str | None = None
    created: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        told = {name: getattr(self, name) for name in ("bundle", "candidate", "seconds", "concurrency")}
        return {
            **told,
            "created": self.created,
            "device": dict(self.device),
            "workload": dict(self.workload),
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
            "bottlenecks": [one.to_json() for one in self.bottlenecks],
            "timeline": [vars(one) for one in self.timeline],
            "slices": [dict(one) for one in self.slices],
            "operators": [vars(one) for one in self.operators],
            "operators_reason": self.operators_reason,
            "notes": list(self.notes),
            "error": self.error,
            "log": self.log,
        }
