"""A rollout as it is planned, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

Status = Literal[
    "starting", "running", "paused", "promoted", "rolled back", "aborted", "not enough traffic", "finished"
]
# In these the rollout goes on; in the others it has ended: "promoted" with the challenger, else with the champion.
OPEN: Final = ("starting", "running", "paused")


@dataclass(frozen=True)
class Version:
    """A bundle: its folder or address, the digest of its manifest, and the name that the user knows it by."""

    path: str
    manifest: str
    label: str = ""


@dataclass(frozen=True)
class Plan:
    """What was asked for. `rules` is the complete table of rules; `sticky` the header whose value keeps its version.

    `metric` is that of an A/B test, `balancer` the HAProxy that moves the requests. `by` and `why` are for the history.
    """

    id: str
    name: str
    strategy: str
    champion: Version
    challenger: Version
    rules: Mapping[str, Any]
    sticky: str | None = None
    metric: str = "latency"
    by: str = ""
    why: str = ""
    balancer: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Read what `to_json` returned."""
        versions = {name: Version(**data[name]) for name in ("champion", "challenger")}
        return cls(**{**data, **versions})


@dataclass(frozen=True)
class Progress:
    """How far a rollout is: what is stored of it.

    `judge` and `ab` are their states, `answered` the requests by version.
    """

    status: Status = "starting"
    reason: str = ""
    weight: float = 0.0
    interruptions: int = 0
    judge: Mapping[str, Any] | None = None
    ab: Mapping[str, Any] | None = None
    answered: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the progress as JSON data."""
        return asdict(self)
