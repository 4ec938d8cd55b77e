"""Targets: of the candidates that pass every gate the best that meets all of them is chosen, else the nearest.

A gate refuses a candidate; a target only says what is wanted most. Notes say which targets are met and what each costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgehone.core.figure import Figure
from edgehone.decision.choice import Choice, best_of
from edgehone.decision.decision import UNITS, Candidate
from edgehone.decision.gates import Verdict, verdict_of
from edgehone.decision.requirements import Gate


@dataclass(frozen=True)
class Aim:
    """The choice, None if no candidate passes every gate, and a note for each target."""

    choice: Choice | None
    notes: tuple[str, ...] = ()


def choose_by(
    candidates: Sequence[Candidate],
    targets: Sequence[Gate],
    weights: Mapping[str, float],
    original: Candidate | None = None,
) -> Aim:
    """Choose among the candidates that pass every gate, by the targets first and the weights second.

    `original` limits what a missing objective counts as (`decision.choice`).
    """
    passing = [c for c in candidates if c.passes]
    choice = best_of(_meeting(passing, targets) or _nearest(passing, targets), weights, original)
    if choice is None:
        return Aim(None)
    chosen = next(c for c in passing if c.key == choice.key)
    notes = []
    for target in targets:
        others = [one for one in targets if one is not target]
        without = best_of(_meeting(passing, others) or _nearest(passing, others), weights, original)
        other = next((c for c in passing if without is not None and c.key == without.key), chosen)
        notes.append(_note(target, chosen, other))
    return Aim(choice, tuple(notes))


def _meeting(candidates: Sequence[Candidate], targets: Sequence[Gate]) -> list[Candidate]:
    return [c for c in candidates if all(_judged(c, target).ok for target in targets)]


def _nearest(candidates: Sequence[Candidate], targets: Sequence[Gate]) -> list[Candidate]:
    """Return the candidates whose largest shortfall, as a share of its target, is smallest; if equal, the next largest.

    A figure that is missing is the largest possible shortfall, so it does not hide the others.
    """
    short = {
        c.key: sorted((_shortfall(_judged(c, target)) for target in targets), reverse=True)
        for c in candidates
    }
    least = min(short.values(), default=[])
    return [c for c in candidates if short[c.key] == least]


def _judged(candidate: Candidate, target: Gate) -> Verdict:
    return verdict_of(target, candidate.figure(target.figure))


def _shortfall(verdict: Verdict) -> float:
    if verdict.ok:
        return 0.0
    return math.inf if verdict.margin is None else -verdict.margin


def _note(target: Gate, chosen: Candidate, without: Candidate) -> str:
    """Return whether the target is met, and what the choice would be without it."""
    verdict = _judged(chosen, target)
    state = "met" if verdict.ok else "not met by any candidate that passes the gates; the nearest is chosen"
    text = f"target {target.name}: {state} ({verdict.reason})"
    if without.key == chosen.key:
        return f"{text}; it costs nothing: the choice is the same without it"
    return f"{text}; without it {without.key} would be chosen: {_differences(without, chosen)}"


def _differences(without: Candidate, chosen: Candidate) -> str:
    """Return the figures of both that a target may cost."""
    parts = []
    for name, unit in _COMPARED.items():
        pair = [_value(one, name) for one in (without, chosen)]
        if pair[0] is not None and pair[1] is not None and pair[0] != pair[1]:
            scale = 1e6 if unit == "MB" else 0.01 if unit == "%" else 1.0
            parts.append(f"{name} {pair[0] / scale:.4g} {unit} against {pair[1] / scale:.4g} {unit}")
    return ", ".join(parts) or "equal in every figure that is compared"


_COMPARED = {
    "accuracy_kept": "%",
    "workload_latency_ms": UNITS["workload_latency_ms"],
    "peak_memory_bytes": "MB",
    "bytes": "MB",
}


def _value(candidate: Candidate, name: str) -> float | None:
    figure: Figure = candidate.figure(name)
    return figure.value
