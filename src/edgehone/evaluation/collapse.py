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


def reason(roles: Sequence[OutputRole], reference: Outputs, candidate: Outputs) -> str | None:
    """Return which output of the candidate collapsed and how, None if none did.

    An output collapsed if it, or a group of its channels that has a scale of its own, hardly varies over the samples
    while the original's does, or if no score reaches the decision threshold while several of the original's do.
    """
    for role in roles:
        for name in role.layout.numbers if role.layout else (role.name,):
            if (why := _constant(name, role, reference[name], candidate[name])) is not None:
                return why
        if (why := _undecided(role, reference, candidate)) is not None:
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
    if role.role == "detections" and role.layout is not None:
        counts = [_detected(outputs, role.layout) for outputs in (reference, candidate)]
        what, at = "detections", detections.THRESHOLD
    elif role.role in ("binary", "labels"):
        at = metrics.threshold(reference[role.name])
        counts = [int((outputs[role.name] >= at).sum()) for outputs in (reference, candidate)]
        what = "scores"
    else:
        return None
    if counts[0] >= LEAST_DECISIONS and counts[1] == 0:
        return (
            f"the output {role.name!r} collapsed: no {what} of at least {at:g}, the original has {counts[0]}"
        )
    return None


def _detected(outputs: Outputs, layout: detections.Layout) -> int:
    scores_of_samples = (detections.find(outputs, layout, i)[1] for i in range(len(outputs[layout.boxes])))
    return sum(int((scores >= detections.THRESHOLD).sum()) for scores in scores_of_samples)
