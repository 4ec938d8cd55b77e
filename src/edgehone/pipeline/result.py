"""The result of a stage: what was checked, how it came out, and what later stages use of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

CheckOutcome = Literal["passed", "failed", "skipped"]
# `waiting`: for an approval. `blocked`: a stage that it needs has not passed.
Outcome = Literal["passed", "failed", "waiting", "blocked"]


@dataclass(frozen=True)
class Check:
    """One thing that a stage checked. `said` says in one sentence what was found, with its figures."""

    name: str
    outcome: CheckOutcome
    said: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """The result of a stage.

    `key` identifies inputs, settings and code. `outputs` is what later stages use. `skipped`: nothing was run, since
    the result of an earlier run with this key still holds. `began` is UTC, ISO 8601. `figures` are the most telling
    ones, in a few words each, for the graph of the stages.
    """

    stage: str
    key: str
    outcome: Outcome
    said: str
    began: str = ""
    seconds: float = 0.0
    checks: tuple[Check, ...] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    skipped: bool = False

    @property
    def passed(self) -> bool:
        """Whether stages that need this one may run."""
        return self.outcome == "passed"

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        """Return the result that a dict of `to_json` holds."""
        checks = tuple(Check(**one) for one in data["checks"])
        lists = {name: tuple(data.get(name, ())) for name in ("notes", "figures")}
        return cls(**{**data, "checks": checks, **lists})
