"""How far the decisions of a candidate's output agree with those of the original, by the output's role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edgehone.evaluation.counted import Agreement, equal_shares, rare_agreement, uncommon_agreement
from edgehone.evaluation.metrics import threshold
from edgehone.evaluation.numbers import explained, relative_error_and_decisions
from edgehone.evaluation.roles import OutputRole, Role, class_axis
from edgehone.evaluation.sounds import alike
from edgehone.inputs.output_sizes import sizes_of
from edgehone.worker import ctc, detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Outputs = Mapping[str, Array]

# Two neighbours whose similarity to a sample differs by less than this share of the similarities' standard deviation
# are equally near.
_EQUALLY_NEAR = 0.05
# A detection is surer than another if its score is larger by more than this. Of fewer pairs one that is lost says
# little; of more detections the table of pairs would take gigabytes.
_SURER = 0.1
_LEAST_PAIRS = 20
_MOST_ORDERED = 2000


def agree(one: OutputRole, reference: Outputs, candidate: Outputs) -> list[Agreement]:
    """Return the measures of agreement of an output by its role; the worst counts."""
    if one.role == "detections":
        assert one.layout is not None
        measures = _detections(reference, candidate, one.layout)
    elif one.role == "sound":
        measures = [alike(*(_sounds(outputs, one.name) for outputs in (reference, candidate)))]
    else:
        measures = _MEASURES[one.role](reference[one.name], candidate[one.name])
    for name in (one.layout.numbers if one.layout else (one.name,)) if one.as_numbers else ():
        measures += explained(reference[name], candidate[name])
    return measures


def _equal(reference: Array, candidate: Array) -> list[Agreement]:
    ours, theirs = (array.reshape(len(array), -1) for array in (reference, candidate))
    return [equal_shares(ours == theirs), *uncommon_agreement(ours, theirs)]


def _classes(reference: Array, candidate: Array) -> list[Agreement]:
    ours, theirs = (array.argmax(1)[:, None] for array in (reference, candidate))
    return [equal_shares(ours == theirs), *uncommon_agreement(ours, theirs)]


def _labels(reference: Array, candidate: Array) -> list[Agreement]:
    """Return F1 of the labels that are set, and the share of equal entries."""
    at = threshold(reference)
    ours, theirs = ((array >= at).reshape(len(array), -1) for array in (reference, candidate))
    both = (ours & theirs).sum(1).astype(float)
    return [
        *rare_agreement(2 * both, ours.sum(1) + theirs.sum(1).astype(float)),
        equal_shares(ours == theirs),
    ]


def _binary(reference: Array, candidate: Array) -> list[Agreement]:
    at = threshold(reference)
    ours, theirs = ((array >= at).reshape(len(array), -1) for array in (reference, candidate))
    return [equal_shares(ours == theirs), *uncommon_agreement(ours, theirs)]


def _steps(reference: Array, candidate: Array) -> list[Agreement]:
    """Return the share of equal classes among the steps that are not of the most common class (the background)."""
    import numpy as np

    ours, theirs = reference.argmax(-1), candidate.argmax(-1)
    counts = np.bincount(ours.ravel())
    counted = np.ones(ours.shape, bool)
    if counts.max() > ours.size / 2:
        counted = (ours != counts.argmax()) | (theirs != counts.argmax())
    counted = counted if counted.any() else np.ones(ours.shape, bool)
    return [Agreement(((ours == theirs) & counted).sum(1).astype(float), counted.sum(1).astype(float))]


def _ctc(reference: Array, candidate: Array) -> list[Agreement]:
    """Return the share of samples with the same text."""
    import numpy as np

    blank = ctc.blank_of(reference)
    ours, theirs = (ctc.texts(array, blank) for array in (reference, candidate))
    return [equal_shares(np.array([[a == b] for a, b in zip(ours, theirs, strict=True)]))]


def _vectors(reference: Array, candidate: Array) -> list[Agreement]:
    """Return the cosine of each sample, and the share of samples with the same nearest neighbour."""
    import numpy as np

    ours, theirs = _units(reference), _units(candidate)
    equal = (ours == theirs).all(1)  # their product may be 1 - 2e-16
    cosines = np.where(equal, 1.0, np.clip((ours * theirs).sum(1), 0.0, 1.0))
    result = [Agreement(cosines, np.ones(len(ours)))]
    if len(ours) > 2:
        result.append(equal_shares(_same_neighbour(ours, theirs)[:, None]))
    return result


def _units(vectors: Array) -> Array:
    import numpy as np

    flat = vectors.reshape(len(vectors), -1).astype(np.float64)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    result: Array = flat / np.where(norms > 0, norms, 1.0)
    return result


def _same_neighbour(ours: Array, theirs: Array) -> Array:
    """Return for each sample whether the neighbour that the candidate finds is as near in the original."""
    import numpy as np

    similarities = ours @ ours.T
    spread = _EQUALLY_NEAR * similarities[~np.eye(len(ours), dtype=bool)].std()
    other = theirs @ theirs.T
    for table in (similarities, other):
        np.fill_diagonal(table, -np.inf)
    rows = np.arange(len(ours))
    result: Array = similarities[rows, other.argmax(1)] >= similarities.max(1) - spread
    return result


def _masks(reference: Array, candidate: Array) -> list[Agreement]:
    """Return the mean intersection over union of the classes in each sample, and of each class over all samples."""
    import numpy as np

    axis = class_axis(reference)
    single = reference.shape[axis] == 1
    ours, theirs = (array >= 0.5 if single else array.argmax(axis) for array in (reference, candidate))
    values = [_intersection(a, b, single) for a, b in zip(ours, theirs, strict=True)]
    overall = _intersection(ours, theirs, single)
    return [
        Agreement(np.array(values), np.ones(len(values))),
        Agreement(np.full(len(values), overall), np.ones(len(values)), rare=True),
    ]


def _intersection(one: Array, other: Array, single: bool) -> float:
    import numpy as np

    classes = [True] if single else np.union1d(one, other)
    shares = []
    for label in classes:
        union = ((one == label) | (other == label)).sum()
        shares.append(float(((one == label) & (other == label)).sum() / union) if union else 1.0)
    return float(np.mean(shares))


def _detections(reference: Outputs, candidate: Outputs, layout: detections.Layout) -> list[Agreement]:
    """Return F1 of the detections, and the share of pairs of them that the scores of both put in the same order."""
    import numpy as np

    found = [detections.matched(reference, candidate, layout, i) for i in range(len(reference[layout.boxes]))]
    counts = np.array([(one.partnered, one.every) for one in found]).reshape(-1, 2)
    return [*rare_agreement(counts[:, 0], counts[:, 1]), *_order([one.scores for one in found])]


def _order(scores: list[Array]) -> list[Agreement]:
    """Return how many pairs of matched detections, of all samples, have scores in the same order on both sides.

    Counted are the pairs whose scores in the original differ by more than _SURER; one of the same score in the
    candidate is lost. [] if none is lost, or if there are fewer than _LEAST_PAIRS. It is judged by its value: a
    detection is in many pairs, so that they are not independent.
    """
    import numpy as np

    every = np.concatenate(scores)
    samples = np.repeat(np.arange(len(scores)), [len(one) for one in scores])
    if len(every) > _MOST_ORDERED:
        at = np.linspace(0, len(every) - 1, _MOST_ORDERED).astype(int)
        every, samples = every[at], samples[at]
    ours, theirs = (column[:, None] - column[None] for column in every.T)
    counted = ours > _SURER
    hits, totals = (
        np.bincount(samples, table.sum(1), len(scores)) for table in (counted & (theirs > 0), counted)
    )
    enough = totals.sum() >= _LEAST_PAIRS and (hits < totals).any()
    return [Agreement(hits, totals, rare=True)] if enough else []


def _sounds(outputs: Outputs, name: str) -> list[Array]:
    """Return the sound [entries] of each sample up to its own end."""
    ends = sizes_of(outputs, name).prod(1)
    return [row.ravel()[:end] for row, end in zip(outputs[name], ends, strict=True)]


def _sizes(reference: Array, candidate: Array) -> list[Agreement]:
    """Return the smaller number of entries as a share of the larger, of [samples, axes], or of numbers of boxes."""
    import numpy as np

    ours, theirs = (
        array.reshape(len(array), -1).astype(np.float64).prod(1) for array in (reference, candidate)
    )
    larger = np.maximum(ours, theirs)
    shares = np.where(larger > 0, np.minimum(ours, theirs) / np.where(larger > 0, larger, 1.0), 1.0)
    return [Agreement(shares, np.ones(len(shares)))]


_MEASURES: Mapping[Role, Callable[[Array, Array], list[Agreement]]] = {
    "classes": _classes,
    "labels": _labels,
    "binary": _binary,
    "steps": _steps,
    "ctc": _ctc,
    "vector": _vectors,
    "mask": _masks,
    "numbers": explained,
    "size": _sizes,
    "state": explained,
    "ids": _equal,
    "unknown": relative_error_and_decisions,
}
