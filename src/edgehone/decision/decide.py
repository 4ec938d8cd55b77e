"""Make a decision from figures: derive figures, judge gates, find the frontier, choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from edgehone.core.figure import Figure
from edgehone.decision import gain, pairs, targets
from edgehone.decision.choice import Choice, best_of, contenders
from edgehone.decision.decision import UNITS, Candidate, Conversion, Decision
from edgehone.decision.fallback import fall_back, nearest
from edgehone.decision.gates import Verdict, judge
from edgehone.decision.objectives import compared, objectives
from edgehone.decision.pareto import frontier
from edgehone.decision.requirements import Requirements

# The fact of a candidate that says why its figures of speed cannot be relied on.
DISTURBED = "disturbed"


@dataclass(frozen=True)
class Subject:
    """The subject of a decision: device, model and workload as JSON, and the versions used."""

    device: Mapping[str, Any]
    model: Mapping[str, Any]
    workload: Mapping[str, Any]
    versions: Mapping[str, Any]
    edgehone: str


def decide(
    candidates: Sequence[Candidate],
    baseline: Candidate,
    requirements: Requirements,
    weights: Mapping[str, float],
    subject: Subject,
    *,
    notes: Sequence[str] = (),
    conversions: Sequence[Conversion] = (),
    created: str | None = None,
) -> Decision:
    """Judge the candidates, compare them and choose one. `baseline` is the original, measured as they were.

    Each candidate gets the figures speedup, memory_cut and bytes, its verdicts if it was measured, and `on_frontier`;
    the baseline competes for the frontier and for the choice too: "keep what you have" can win. `weights` are the
    workload's, overridden by the user's (`Requirements.over`). `conversions` are the results of the parity checks.
    `created` is the present time (UTC) by default. `chosen` is None if no candidate passes; the reason then names the
    nearest candidate, the gates it fails and by how much, and `fallback` is the best candidate that keeps the quality.
    """
    original = judged_of(baseline, baseline, requirements)
    judged = [judged_of(candidate, baseline, requirements) for candidate in candidates]
    names = compared(weights)
    points = [
        [objectives(c)[name] if c.status == "ok" else None for name in names] for c in (*judged, original)
    ]
    on_frontier = frontier(points, [True] * len(names))
    judged = [replace(c, on_frontier=on) for c, on in zip(judged, on_frontier, strict=False)]
    original = replace(original, on_frontier=on_frontier[-1])
    pool = [*contenders(judged), original]
    aim = targets.choose_by(pool, requirements.targets, weights, original)
    fallback = None if aim.choice else fall_back(judged, original, weights)
    return Decision(
        chosen=aim.choice.key if aim.choice else None,
        fallback=fallback.key if fallback else None,
        reason=_reason(aim.choice, fallback, judged),
        device=subject.device,
        model=subject.model,
        workload=subject.workload,
        requirements={**requirements.to_json(), "weights": dict(weights)},
        baseline=original,
        candidates=tuple(judged),
        notes=(
            *aim.notes,
            *([] if requirements.targets else _not_ruled_out(pool, aim.choice, weights)),
            *notes,
        ),
        conversions=tuple(conversions),
        versions=subject.versions,
        edgehone=subject.edgehone,
        created=created or datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _reason(choice: Choice | None, fallback: Choice | None, judged: Sequence[Candidate]) -> str:
    if choice:
        return choice.reason
    if undecided := [c for c in judged if c.undecided]:
        best = next((c for c in undecided if fallback and c.key == fallback.key), undecided[0])
        why = _open_gates(best)
        many = f"{len(undecided)} candidates" if len(undecided) > 1 else "one candidate"
        return f"Not decided on this machine: {many} may pass every gate. {best.key}: {why}."
    if fallback is None:
        return nothing_passes(judged)
    bundled = [c for c in judged if c.key == fallback.key]  # none if it is the original
    return f"{nothing_passes(bundled or judged)} The best that keeps the quality: {fallback.reason}"


def _not_ruled_out(
    pool: Sequence[Candidate], chosen: Choice | None, weights: Mapping[str, float]
) -> list[str]:
    """Return a note on the candidate that would be chosen if the undecided gates on its speed passed, if there is one.

    `pool` ends with the original.
    """
    possible = [one for one in pool if one.passes or one.undecided]
    best = best_of(possible, weights, pool[-1], "may pass every gate")
    open_ = [one for one in possible if best and one.key == best.key and one.undecided]
    return [
        f"{one.key} would be chosen if it passed the gates that are undecided on this machine: {_open_gates(one)}"
        for one in open_
        if chosen
    ]


def _open_gates(candidate: Candidate) -> str:
    return "; ".join(f"{v.gate}: {v.reason}" for v in candidate.verdicts if v.undecided)


def judged_of(candidate: Candidate, baseline: Candidate, requirements: Requirements) -> Candidate:
    """Return the candidate with its derived figures, and with its verdicts if it was measured."""
    full = replace(candidate, figures=derive(candidate, baseline))
    if full.status != "ok":
        return full
    disturbed = candidate.facts.get(DISTURBED) or baseline.facts.get(DISTURBED)
    return replace(full, verdicts=tuple(judge(full.figures, requirements, disturbed)))


def derive(candidate: Candidate, baseline: Candidate) -> dict[str, Figure]:
    """Return the candidate's figures, every required one among them, and the comparisons with the baseline.

    speedup = original / candidate workload latency, by pairs of rounds (`decision.pairs`); for size_cut, memory_cut,
    gain and loss see `decision.gain`. Memory is measured in separate processes, so its intervals are combined as
    independent.
    """
    figures = {**{name: candidate.figure(name) for name in UNITS}, **candidate.figures}
    figures["speedup"] = pairs.speedup(candidate, baseline)
    figures |= gain.cuts(candidate, baseline)
    figures |= gain.balance(figures, candidate, baseline)
    size = candidate.bytes
    reason = candidate.error or "the artifact's size is not known"
    figures["bytes"] = (
        Figure.missing(reason, "bytes") if size is None else Figure(float(size), n=1, unit="bytes")
    )
    return figures


def nothing_passes(candidates: Sequence[Candidate]) -> str:
    """Return the reason why there is no choice: the nearest candidate and each gate that it fails, quality first."""
    miss = nearest(candidates)
    if miss is None and any(c.passes for c in candidates):
        return "Some candidates pass every gate, but none has the figures that the weights compare."
    if miss is None:
        failed = [c for c in candidates if c.error]
        first = f": {failed[0].key}: {failed[0].error}" if failed else ""
        return f"No candidate passes: none of {len(candidates)} could be measured{first}."
    candidate, verdicts = miss
    failing = "; ".join(f"{verdict.gate} {_shortfall(verdict)}" for verdict in verdicts)
    return f"No candidate passes every gate. Nearest is {candidate.key}: {failing}."


def _shortfall(verdict: Verdict) -> str:
    if verdict.margin is None:
        return f"has no figure ({verdict.reason})"
    share = f"{abs(verdict.margin):.1%}".replace("%", " %")
    return f"misses by {share} of the threshold ({verdict.reason})"
