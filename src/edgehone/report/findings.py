"""The content of a bundle that reports are made of, and the problems with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgehone.decision.decision import Candidate, Decision


@dataclass(frozen=True)
class Findings:
    """What is known of a bundle.

    `samples` are the raw samples of each candidate by its key, `logs` the ends of the logs of failed candidates,
    `command` is the command that makes the bundle again. `problems` say what is missing, changed or cannot be read.
    """

    name: str
    decision: Decision
    samples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    logs: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def ordered(self) -> list[Candidate]:
        """The candidates in the order of all tables.

        The chosen one is first, then those that pass, those that fail a gate, and the others; each group by latency.
        """
        return sorted(self.decision.candidates, key=self._rank)

    def _rank(self, one: Candidate) -> tuple[bool, bool, bool, bool, float, str]:
        latency = one.figure("workload_latency_ms").value
        late = latency is None
        return (
            one.key != self.decision.bundled,
            one.status != "ok",
            not one.passes,
            late,
            latency or 0.0,
            one.key,
        )
