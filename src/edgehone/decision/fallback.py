"""What to do if no candidate passes every gate: the nearest miss, and the best candidate that keeps the quality."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgehone.decision.aims import judges_quality
from edgehone.decision.choice import Choice, best_of
from edgehone.decision.decision import Candidate
from edgehone.decision.gates import Verdict


def fall_back(
    candidates: Sequence[Candidate], original: Candidate, weights: Mapping[str, float]
) -> Choice | None:
    """Return the best candidate that passes every gate on quality, the original among them, whatever else they fail.

    None if nothing was measured. It may be the original: then what the user has is the best that keeps the quality.
    """
    keeping = [c for c in candidates if c.status == "ok" and not any(_lost(v) for v in c.verdicts)]
    measured = [original] if original.status == "ok" else []
    return best_of([*keeping, *measured], weights, original, "keeps the quality")


def nearest(candidates: Sequence[Candidate]) -> tuple[Candidate, tuple[Verdict, ...]] | None:
    """Return the measured candidate that is nearest to passing, and the gates that it fails, quality first.

    A candidate that passes the gates on quality is nearer than one that does not. Then the largest shortfall counts, as
    a share of the threshold; if it is equal, the next largest, so one failing gate is nearer than two. A missing figure
    is the largest possible shortfall. Return None if no candidate was measured or all pass.
    """
    missed: list[tuple[bool, list[float], str, Candidate, tuple[Verdict, ...]]] = []
    for candidate in candidates:
        failed = sorted((v for v in candidate.verdicts if not v.ok), key=_margin)
        if candidate.status == "ok" and failed:
            lost = any(_lost(verdict) for verdict in failed)
            ordered = tuple(sorted(failed, key=lambda v: (not judges_quality(v.figure), _margin(v))))
            missed.append((lost, [-_margin(v) for v in failed], candidate.key, candidate, ordered))
    if not missed:
        return None
    *_, candidate, verdicts = min(missed, key=lambda entry: entry[:3])
    return candidate, verdicts


def _lost(verdict: Verdict) -> bool:
    return not verdict.ok and judges_quality(verdict.figure)


def _margin(verdict: Verdict) -> float:
    return -math.inf if verdict.margin is None else verdict.margin
