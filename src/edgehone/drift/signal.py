"""The result of a watch: one signal with the evidence of each detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["inputs", "performance", "joint"]


@dataclass(frozen=True)
class Evidence:
    """What one detector has found.

    `log10` is the current evidence against "nothing has changed", the logarithm of an e-process; `needed` is its
    threshold. `alarm` stays set once the threshold was reached. `changed` says in words with figures what differs
    from the reference; it is empty below a tenfold evidence.
    """

    name: str
    kind: Kind
    log10: float
    needed: float
    share_of_alpha: float
    alarm: bool
    direction: str
    changed: str


@dataclass(frozen=True)
class Signal:
    """The aggregate. `since`: estimated number of requests since the change began, None without an alarm.

    `ignored` counts values that could not be true, by name.
    """

    alarm: bool
    since: int | None
    requests: int
    evidence: tuple[Evidence, ...]
    ignored: Mapping[str, int]

    def alarm_of(self, kind: Kind) -> bool:
        """Return whether a detector of this kind has raised an alarm."""
        return any(one.alarm for one in self.evidence if one.kind == kind)

    @property
    def summary(self) -> str:
        """One line: what changed by the detectors that alarm, or that nothing did."""
        changes = "; ".join(one.changed for one in self.evidence if one.alarm)
        return changes or f"no drift in {self.requests} requests"

    def to_json(self) -> dict[str, Any]:
        """Return the signal as JSON data."""
        data = asdict(self)
        return {
            **data,
            "evidence": list(data["evidence"]),
            "ignored": dict(self.ignored),
            "summary": self.summary,
        }
