"""The findings of a check, and how a figure is judged by its threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgehone.attestation.certificate import Outcome
from edgehone.core.figure import Figure
from edgehone.decision.gates import verdict_of
from edgehone.decision.requirements import Gate

Bound = Literal["low", "high", "value"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The outcome of a check, without its name. `evidence` is what its file in the bundle holds."""

    outcome: Outcome
    reason: str
    threshold: str = ""
    figure: Figure | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Skipped(Exception):
    """A check that cannot be made here; the message says why."""


def judged(
    figure: Figure,
    op: Literal[">=", "<="],
    threshold: float,
    bound: Bound,
    what: str,
    evidence: Mapping[str, Any] | None = None,
) -> Found:
    """Judge a figure by the end of its interval that `bound` names; `what` says in words what the figure is.

    Undecided if the interval holds the threshold. A missing figure is undecided too: it was tried and too little was
    measured.
    """
    gate = Gate(what, what, op, threshold, bound)
    verdict = verdict_of(gate, figure)
    end = {"low": ", lower end", "high": ", upper end", "value": ""}[bound]
    sign = "≥" if op == ">=" else "≤"
    limit = f"{sign} {threshold:g} {figure.unit}".rstrip() + end
    if figure.value is None:
        return Found(
            outcome="undecided",
            reason=f"{what}: {figure.reason}",
            threshold=limit,
            figure=figure,
            evidence=evidence or {},
        )
    outcome: Outcome = "passed" if verdict.ok else "undecided" if verdict.undecided else "failed"
    return Found(
        outcome=outcome,
        reason=f"{what} is {_shown(figure)}, required {limit}",
        threshold=limit,
        figure=figure,
        evidence=evidence or {},
    )


def counted(
    problems: Sequence[str], fine: str, evidence: Mapping[str, Any] | None = None, *, n: int = 0
) -> Found:
    """Return a pass if there is no problem. `fine` says what was looked at, `n` how many things were."""
    if not problems:
        return Found(
            outcome="passed",
            reason=fine,
            threshold="no problem",
            figure=Figure(0.0, n=n, unit="problems"),
            evidence={"problems": [], **(evidence or {})},
        )
    more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    return Found(
        outcome="failed",
        reason=f"{problems[0]}{more}",
        threshold="no problem",
        figure=Figure(float(len(problems)), n=n, unit="problems"),
        evidence={"problems": list(problems), **(evidence or {})},
    )


def _shown(figure: Figure) -> str:
    unit = f" {figure.unit}" if figure.unit else ""
    if figure.low is None or figure.high is None:
        return f"{figure.value:.4g}{unit}"
    return f"{figure.value:.4g}{unit} ({figure.low:.4g}–{figure.high:.4g})"
