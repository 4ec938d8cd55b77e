"""The size budget of a package: what fills it, and what would fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from edgehone.core.errors import InputError
from edgehone.core.sizes import shown
from edgehone.decision.decision import Candidate, Decision
from edgehone.package.contents import parts_of, size_of
from edgehone.package.document import Filling
from edgehone.package.target import Deliverable

_PARTS = 8  # the largest parts that are listed; the rest is summed up


def fillings(
    folder: Path,
    deliverables: Sequence[Deliverable],
    asked: int | None,
    default: int | None,
    named: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
) -> tuple[Filling, ...]:
    """Return what fills each deliverable of a package: the parts that the target has `named`, or else its files.

    Its limit is the one that the user has `asked` for, else its own, else the target's `default`.
    """
    found = []
    for one in deliverables:
        parts = named.get(one.path) or parts_of(folder / one.path)
        parts = dict(sorted(parts.items(), key=lambda item: (-item[1], item[0])))
        largest = dict(list(parts.items())[:_PARTS])
        if rest := sum(parts.values()) - sum(largest.values()):
            largest["everything else"] = rest
        limit = asked if asked is not None else one.limit if one.limit is not None else default
        found.append(Filling(one.path, size_of(folder / one.path), largest, limit))
    return tuple(found)


def check_budget(
    found: Sequence[Filling], deliverables: Sequence[Deliverable], decision: Decision, artifact_bytes: int
) -> None:
    """Raise InputError if a deliverable is larger than its limit, with what fills it and which candidate would fit.

    `artifact_bytes` is the size of the artifact that was packaged; what a deliverable contains besides is assumed to
    stay when another candidate takes its place.
    """
    for one, deliverable in zip(found, deliverables, strict=True):
        budget = one.limit
        if budget is None or one.bytes <= budget:
            continue
        parts = ", ".join(f"{name} {shown(size)}" for name, size in list(one.parts.items())[:3])
        room = budget - (one.bytes - artifact_bytes)
        raise InputError(
            f"{one.path} takes {shown(one.bytes)}, which is over the budget of {shown(budget)}: {parts}",
            hint="; or ".join(
                filter(None, (_what_fits(decision, room, one.bytes, artifact_bytes), deliverable.otherwise))
            ),
        )


def _what_fits(decision: Decision, room: int, whole: int, artifact_bytes: int) -> str:
    passing = [one for one in decision.candidates if one.passes and one.bytes]
    if not passing:
        return "no candidate of the bundle's decision passes every gate and has a known size"
    smallest = min(passing, key=lambda one: one.bytes or 0)
    fitting = [one for one in passing if (one.bytes or 0) <= room]
    if not fitting and (smallest.bytes or 0) > 0.99 * artifact_bytes:
        return f"no candidate that passes every gate is smaller: a budget of {shown(whole)} would do"
    if not fitting:
        return (
            f"the smallest candidate that passes every gate is {smallest.key} with {shown(smallest.bytes or 0)}: a "
            f"budget of {shown((smallest.bytes or 0) + whole - artifact_bytes)} would do; its price: "
            f"{price(smallest, decision)}"
        )
    largest = max(fitting, key=lambda one: one.bytes or 0)
    return (
        f"{largest.key} would fit with {shown(largest.bytes or 0)}; its price: {price(largest, decision)}. To choose "
        f"it: sh BUNDLE/reproduce.sh --backends {largest.backend} --weights size=1 --out NEW"
    )


def price(candidate: Candidate, decision: Decision) -> str:
    """Return how the figures of a candidate differ from those of the bundled one."""
    own = decision.candidate(decision.bundled or "")
    words = []
    for name, label in (("kl_mean", "KL divergence"), ("workload_latency_ms", "latency in ms")):
        here, there = candidate.figures.get(name), own.figures.get(name)
        if here and there and here.value is not None and there.value is not None:
            words.append(f"{label} {here.value:.3g} in place of {there.value:.3g}")
    return ", ".join(words) or "not measured"
