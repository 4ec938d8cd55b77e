"""Outputs that collapsed: a candidate that gives the same answer to everything is refused, whatever an average says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgehone.evaluation import metrics
from edgehone.evaluation.differences import variance
from edgehone.evaluation.roles import ONE_SCALE, OutputRole
from edgehone.evaluation.scales import one_scale_groups
from edgehone.worker import detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Outputs = Mapping[str, Array]

# A variance over the samples below this share of the original's is none.
CONSTANT = 1e-3
# A variance of the original below this share of its squared size is rounding: it is constant itself.
STILL = 1e-6
# Fewer decisions of the original than this may be lost by chance, being near the threshold.
LEAST_DECISIONS = 3
# Fewer scores of boxes may be alike by chance, and so may those of an original that differ by less than this.
LEAST_SCORES = 10
SPREAD = 0.02


def reason(roles: Sequence[OutputRole], reference: Outputs, candidate: Outputs) -> str | None:
    """Return which output of the candidate collapsed and how, None if none did.

    An output collapsed if it, or a group of its channels that has a scale of its own, hardly varies over the samples
    while the original's does, if no score reaches the decision threshold while several of the original's do, or if the
    scores of all boxes are equal while the original's differ.
    """
    for role in roles:
        for name in role.layout.numbers if role.layout else (role.name,):
            if (why := _constant(name, role, reference[name], candidate[name])) is not None:
                return why
        undecided = _undetected if role.layout else _undecided
        if (why := undecided(role, reference, candidate)) is not None:
            return why
    return None


def _constant(name: str, role: OutputRole, reference: Array, candidate: Array) -> str | None:
    if reference.dtype.kind != "f" or len(reference) < 2:
        return None
    one_scale = role.role in ONE_SCALE or role.role == "detections"
    groups = [(reference, candidate)] if one_scale else one_scale_groups(reference, candidate)
    for ours, theirs in groups:
        variances = [variance(array) for array in (ours, theirs)]
        size = float((ours.astype("float64") ** 2).sum(1).mean()) if not one_scale else 0.0
        if variances[0] > STILL * size and variances[0] > 0 and variances[1] < CONSTANT * variances[0]:
            part = f"{len(ours[0])} of the entries of " if len(groups) > 1 else ""
            return (
                f"{part}the output {name!r} collapsed: over the samples it varies by {variances[1] ** 0.5:.2g}, "
                f"the original's by {variances[0] ** 0.5:.2g}"
            )
    return None


def _undecided(role: OutputRole, reference: Outputs, candidate: Outputs) -> str | None:
    if role.role not in ("binary", "labels"):
        return None
    at = metrics.threshold(reference[role.name])
    counts = [int((outputs[role.name] >= at).sum()) for outputs in (reference, candidate)]
    return _lost(role, "scores", at, *counts)


def _undetected(role: OutputRole, reference: Outputs, candidate: Outputs) -> str | None:
    """Return why the scores of boxes collapsed: none is found, or the scores of all are equal."""
    assert role.layout is not None
    ours, theirs = (_found(outputs, role.layout) for outputs in (reference, candidate))
    if (why := _lost(role, "detections", detections.THRESHOLD, len(ours), len(theirs))) is not None:
        return why
    few = min(len(ours), len(theirs)) < LEAST_SCORES or ours.std() < SPREAD
    if few or theirs.std() ** 2 >= CONSTANT * ours.std() ** 2:
        return None
    return (
        f"the output {role.layout.scores or role.name!r} collapsed: the scores of all {len(theirs)} detections are "
        f"{theirs.mean():.3g}, the original's have a standard deviation of {ours.std():.2g}"
    )


def _lost(role: OutputRole, what: str, at: float, ours: int, theirs: int) -> str | None:
    if ours < LEAST_DECISIONS or theirs:
        return None
    return f"the output {role.name!r} collapsed: no {what} of at least {at:g}, the original has {ours}"


def _found(outputs: Outputs, layout: detections.Layout) -> Array:
    """Return the scores of the detections of all samples."""
    import numpy as np

    every = np.concatenate(
        [detections.find(outputs, layout, i)[1] for i in range(len(outputs[layout.boxes]))]
    )
    found: Array = every[every >= detections.THRESHOLD]
    return found
