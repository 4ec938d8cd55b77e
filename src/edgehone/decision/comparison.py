"""The result of `edgehone compare`: figures of bundles and artifacts side by side, without gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgehone.decision.decision import Candidate


@dataclass(frozen=True)
class Comparison:
    """What was compared, with the same figures as the candidates of a decision."""

    model: Mapping[str, Any]
    device: Mapping[str, Any]
    workload: Mapping[str, Any]
    baseline: Candidate
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]
    versions: Mapping[str, Any]
    edgehone: str
    created: str  # UTC, ISO 8601

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return {
            **{name: dict(getattr(self, name)) for name in ("model", "device", "workload", "versions")},
            "baseline": self.baseline.to_json(),
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "notes": list(self.notes),
            "edgehone": self.edgehone,
            "created": self.created,
        }
