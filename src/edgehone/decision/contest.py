"""Find the comparisons that further benchmark rounds could still decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgehone.decision.choice import best_of, gap
from edgehone.decision.decide import judged_of
from edgehone.decision.decision import Candidate
from edgehone.decision.requirements import Requirements


@dataclass(frozen=True)
class Contested:
    """The best candidate so far, and the keys of those of which more rounds could change the choice.

    `with_original` says that a gate of one of them is undecided, which compares it with the original.
    """

    best: str | None
    keys: frozenset[str] = frozenset()
    with_original: bool = False


def contested(
    candidates: Sequence[Candidate],
    baseline: Candidate,
    requirements: Requirements,
    weights: Mapping[str, float],
) -> Contested:
    """Return the best candidate that passes or may pass, and those of which the choice depends on more rounds.

    The latter are the best candidate that passes or may pass, if a gate on its speed is undecided, and those whose
    score it neither certainly beats nor certainly ties with, together with the best itself.
    """
    judged = [judged_of(one, baseline, requirements) for one in candidates]
    possible = [one for one in judged if one.passes or one.undecided]
    leading = best_of(possible, weights, baseline, "may pass every gate")
    if leading is None:
        return Contested(None)
    best = leading.tied[0]
    by_key = {one.key: one for one in possible}
    gaps = {
        one.key: gap(by_key[best], one, possible, weights, baseline) for one in possible if one.key != best
    }
    keys = {key for key, found in gaps.items() if found is not None and found.is_open}
    keys |= {one.key for one in possible if one.undecided and one.key in {best, leading.key}}
    running = keys | ({best} if keys else set())
    undecided = any(by_key[key].undecided for key in running)
    return Contested(leading.key, frozenset(running), undecided)
