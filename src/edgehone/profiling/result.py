"""The result of a profile: figures, bottlenecks, timeline and operator times."""

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
    """One interval of the timeline. `at` is its end in seconds since the first request (negative: still loading)."""

    at: float
    cores: tuple[float, ...]  # busy share of each processor
    anonymous: int | None  # bytes
    file_mapped: int | None
    mhz: float | None  # mean over the cores
    warmest_c: float | None
    switches_per_s: float | None  # context switches of the process, voluntary and involuntary


@dataclass(frozen=True)
class Profile:
    """A profile. If the process failed, `error` and `log` say how, and the rest is what was sampled until then."""

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
        """Return a dict for JSON."""
        head = {name: getattr(self, name) for name in ("bundle", "candidate", "seconds", "concurrency")}
        return {
            **head,
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
