"""Figures in, decision out: derived figures, verdicts, frontier, choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from edgehone.core.figure import Figure
from edgehone.decision.choice import choose, compared, contenders, nearest, objectives
from edgehone.decision.decision import UNITS, Candidate, Conversion, Decision
from edgehone.decision.gates import judge
from edgehone.decision.pareto import frontier
from edgehone.decision.requirements import Requirements
from edgehone.evaluation.statistics import ratio_of


@dataclass(frozen=True)
class Subject:
    """What a decision is about: device, model and workload as JSON, and the versions that it was made with."""

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
    """Judge, compare and choose. `baseline` is the original, measured as the candidates were.

    Each candidate gets speedup, memory_cut and bytes beside its figures, its verdicts (measured ones only)
    and its place on the frontier, in which the baseline competes. `weights` are the workload's under the
    user's (`Requirements.over`). `conversions` are what the null test saw of
    each backend. `created` is now (UTC) unless given. `chosen` is None where nothing passes; the reason then
    names the nearest candidate, its gate and by how much it fails.
    """
    original = replace(baseline, figures=derive(baseline, baseline))
    judged = [judged_of(candidate, baseline, requirements) for candidate in candidates]
    names = compared(weights)
    points = [
        [objectives(c)[name] if c.status == "ok" else None for name in names] for c in (*judged, original)
    ]
    placed = frontier(points, [True] * len(names))
    judged = [replace(c, on_frontier=on) for c, on in zip(judged, placed, strict=False)]
    original = replace(original, on_frontier=placed[-1])
    choice = choose(contenders(judged), weights)
    return Decision(
        chosen=choice.key if choice else None,
        reason=choice.reason if choice else nothing_passes(judged),
        device=subject.device,
        model=subject.model,
        workload=subject.workload,
        requirements={**requirements.to_json(), "weights": dict(weights)},
        baseline=original,
        candidates=tuple(judged),
        notes=tuple(notes),
        conversions=tuple(conversions),
        versions=subject.versions,
        edgehone=subject.edgehone,
        created=created or datetime.now(UTC).isoformat(timespec="seconds"),
    )


def judged_of(candidate: Candidate, baseline: Candidate, requirements: Requirements) -> Candidate:
    """The candidate with its derived figures, and its verdicts if it was measured."""
    full = replace(candidate, figures=derive(candidate, baseline))
    return replace(full, verdicts=tuple(judge(full.figures, requirements))) if full.status == "ok" else full


def derive(candidate: Candidate, baseline: Candidate) -> dict[str, Figure]:
    """The candidate's figures with every required one present, and those that compare it with the baseline.

    speedup = original / candidate workload latency; memory_cut = 1 - candidate / original peak memory.
    Latencies and memories come from separate processes, so their intervals combine as independent.
    """
    found = {**{name: candidate.figure(name) for name in UNITS}, **candidate.figures}
    if "speedup" not in candidate.figures:  # a prediction has its own: it knows what hits both alike
        found["speedup"] = ratio_of(
            baseline.figure("workload_latency_ms"), candidate.figure("workload_latency_ms"), "×"
        )
    share = ratio_of(candidate.figure("peak_memory_bytes"), baseline.figure("peak_memory_bytes"), "share")
    if share.value is not None:
        low = None if share.high is None else 1 - share.high
        high = None if share.low is None else 1 - share.low
        share = Figure(1 - share.value, low, high, share.n, "share", share.reason)
    found["memory_cut"] = share
    size = candidate.bytes
    reason = candidate.error or "the artifact's size is not known"
    found["bytes"] = (
        Figure.missing(reason, "bytes") if size is None else Figure(float(size), n=1, unit="bytes")
    )
    return found


def nothing_passes(candidates: Sequence[Candidate]) -> str:
    """Why there is no choice: the nearest candidate, or that none was measured."""
    found = nearest(candidates)
    if found is None and any(c.passes for c in candidates):
        return "Candidates pass every gate, but none has the figures that the weights compare."
    if found is None:
        failed = [c for c in candidates if c.error]
        first = f": {failed[0].key}: {failed[0].error}" if failed else ""
        return f"No candidate passes: none of {len(candidates)} could be measured{first}."
    candidate, verdict = found
    if verdict.margin is None:
        by = f"has no figure ({verdict.reason})"
    else:
        by = f"misses by {abs(verdict.margin):.1%} of the threshold ({verdict.reason})".replace("%", " %", 1)
    failing = [v.gate for v in candidate.verdicts if not v.ok and v.gate != verdict.gate]
    also = f"; it also fails {', '.join(failing)}" if failing else ""
    return f"No candidate passes every gate. Nearest is {candidate.key}: {verdict.gate} {by}{also}."
