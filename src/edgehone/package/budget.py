"""The size budget of a package: what fills it, and what would fit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from edgehone.core.errors import InputError
from edgehone.decision.decision import Candidate, Decision
from edgehone.package.contents import parts_of, size_of
from edgehone.package.document import Filling
from edgehone.package.target import Deliverable

# Decimal units, as app stores and file managers count; the binary ones have an i.
_UNITS = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_PARTS = 8  # the largest parts that are listed; the rest is summed up


def bytes_of_size(text: str, what: str) -> int:
    """Return a size such as "100MB", "<50 MB" or "64 MiB" in bytes. Raises InputError, which names `what`."""
    match = re.fullmatch(r"\s*<?=?\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None or float(match[1]) * unit < 1:
        raise InputError(f"{what} is {text!r}", hint="give a size such as 100MB or 64MiB")
    return int(float(match[1]) * unit)


def shown(size: float) -> str:
    """Return a size for people: "2.26 MB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}" if size < 1000 * factor else f"{size / factor:.0f} {unit}"
    return f"{size:.0f} bytes"


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
                filter(None, (_what_fits(decision, room, one.bytes - artifact_bytes), deliverable.otherwise))
            ),
        )


def _what_fits(decision: Decision, room: int, besides: int) -> str:
    passing = [one for one in decision.candidates if one.passes and one.bytes]
    if not passing:
        return "no candidate of the bundle's decision passes every gate and has a known size"
    smallest = min(passing, key=lambda one: one.bytes or 0)
    fitting = [one for one in passing if (one.bytes or 0) <= room]
    if not fitting:
        return (
            f"the smallest candidate that passes every gate is {smallest.key} with {shown(smallest.bytes or 0)}: a "
            f"budget of {shown((smallest.bytes or 0) + besides)} would do; its price: {price(smallest, decision)}"
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
