"""What a report is made of: all that is known of a bundle, and what could not be read of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgehone.decision.decision import Candidate, Decision


@dataclass(frozen=True)
class Findings:
    """A bundle as a report sees it.

    `samples` are the raw samples of each candidate by its key, `logs` the ends of the logs of those that failed,
    `command` what makes the bundle again. `problems` say what is missing, changed or cannot be read.
    """

    name: str
    decision: Decision
    samples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    logs: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def ordered(self) -> list[Candidate]:
        """The candidates as every table shows them: the chosen, those that pass, those that fail a gate, the others;
        each by latency."""
        return sorted(self.decision.candidates, key=self._place)

    def _place(self, one: Candidate) -> tuple[bool, bool, bool, bool, float, str]:
        latency = one.figure("workload_latency_ms").value
        late = latency is None
        return (
            one.key != self.decision.chosen,
            one.status != "ok",
            not one.passes,
            late,
            latency or 0.0,
            one.key,
        )
