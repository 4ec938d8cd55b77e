"""How far the decisions of a candidate's output agree with those of the original, by the output's role.

Every measure is a ratio of two sums over the samples, `hits` / `totals`, so that its interval comes from the samples.
A measure of rare decisions (labels, detections) counts those that one of the two makes, so that the many entries in
which neither does cannot hide that the candidate makes none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgehone.core.figure import Figure
from edgehone.evaluation import statistics as st
from edgehone.evaluation.metrics import threshold
from edgehone.evaluation.roles import OutputRole, Role, class_axis
from edgehone.worker import ctc, detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Outputs = Mapping[str, Array]

# Numbers within this share of their standard deviation from the threshold are on neither side.
_NEAR = 0.02
# A threshold decides something where both of its sides are common.
_RARE = 0.05
# A decision is the common one if at least this share is.
_COMMON = 0.8
# Of fewer uncommon decisions than _FEW a single loss says nothing; all of _LEAST lost do.
_FEW = 10
_LEAST = 3
# Numbers that vary by less than this share of their size are constant, but for rounding.
_CONSTANT = 1e-3
# Two neighbours whose similarity to a sample differs by less than this share of the similarities' standard deviation
# are equally near.
_EQUALLY_NEAR = 0.05
# Channels whose root mean squares differ by more than this factor have scales of their own.
SCALE_GAP = 10.0
# An axis of more entries is not one of channels.
_CHANNELS = 512


@dataclass(frozen=True)
class Agreement:
    """hits[samples] out of totals[samples] decisions agree; a sample with the total 0 has none.

    `rare` decisions are judged by their value: there are too few for the lower end of an interval to say anything.
    """

    hits: Array
    totals: Array
    rare: bool = False

    def figure(self) -> Figure:
        """Return the share of decisions that agree.

        Without a difference among n samples the lower end is the share below which no difference would have been found
        with a probability under 2.5 % (Clopper & Pearson, 1934). For one decision a sample it is Wilson's interval,
        else the cluster-robust one of a ratio.
        """
        import numpy as np

        used = self.totals > 0
        hits, totals = self.hits[used], self.totals[used]
        n = int(totals.size)
        if self.rare and n:
            value = float(hits.sum() / totals.sum())
            return Figure(value, value, 1.0, n, "share")
        if n == 0:
            return Figure.missing(
                "neither the original nor the candidate decides anything on these samples", "share"
            )
        value = max(0.0, float(hits.sum() / totals.sum()))  # a candidate may explain less than the mean does
        if n < 2:
            return Figure(value, n=n, unit="share")
        if bool((hits == totals).all()):
            return Figure(1.0, st.no_difference(n), 1.0, n, "share")
        if bool((totals == 1).all()) and bool(np.isin(hits, (0.0, 1.0)).all()):
            return st.share_interval(int(hits.sum()), n).figure("share")
        interval = st.clustered_ratio(hits, totals, np.arange(n))
        return replace(interval, value=value).figure("share", least=0.0, most=1.0)


def agree(one: OutputRole, reference: Outputs, candidate: Outputs) -> list[Agreement]:
    """Return the measures of agreement of an output by its role; the worst counts."""
    if one.role == "detections":
        assert one.layout is not None
        measures = _detections(reference, candidate, one.layout)
    else:
        measures = _MEASURES[one.role](reference[one.name], candidate[one.name])
    for name in (one.layout.names if one.layout else (one.name,)) if one.as_numbers else ():
        measures += _explained(reference[name], candidate[name])
    return measures


def _equal(reference: Array, candidate: Array) -> list[Agreement]:
    ours, theirs = (array.reshape(len(array), -1) for array in (reference, candidate))
    return [_shares(ours == theirs), *_uncommon(ours, theirs)]


def _uncommon(ours: Array, theirs: Array) -> list[Agreement]:
    """Return the agreement of the decisions, [samples, entries], that one side makes against the most common one.

    [] if nothing differs there, or if too few are made to count a single loss.
    """
    import numpy as np

    values, counts = np.unique(ours, return_counts=True)
    common = values[counts.argmax()]
    counted = (ours != common) | (theirs != common)
    hits, made = ((ours == theirs) & counted).sum(1).astype(float), int((ours != common).sum())
    lost = counted.sum() - hits.sum()
    if (
        len(values) < 2
        or counts.max() < _COMMON * ours.size
        or not lost
        or (made < _FEW and hits.any())
        or made < _LEAST
    ):
        return []
    return [Agreement(hits, counted.sum(1).astype(float), rare=True)]


def _shares(equal: Array) -> Agreement:
    """Return the agreement of [samples, entries] booleans, as a share of each sample's entries."""
    import numpy as np

    return Agreement(equal.mean(1, dtype=np.float64), np.ones(len(equal)))


def _classes(reference: Array, candidate: Array) -> list[Agreement]:
    ours, theirs = (array.argmax(1)[:, None] for array in (reference, candidate))
    return [_shares(ours == theirs), *_uncommon(ours, theirs)]


def _labels(reference: Array, candidate: Array) -> list[Agreement]:
    """Return F1 of the labels that are set, and the share of equal entries."""
    at = threshold(reference)
    ours, theirs = ((array >= at).reshape(len(array), -1) for array in (reference, candidate))
    both = (ours & theirs).sum(1).astype(float)
    return [*_rare(2 * both, ours.sum(1) + theirs.sum(1).astype(float)), _shares(ours == theirs)]


def _rare(hits: Array, totals: Array) -> list[Agreement]:
    """Return the agreement of rare decisions by sample (1 where neither side makes any), and of all where one is lost.

    Samples without a decision are evidence as well: the candidate adds none to them. But many of them must not hide
    that the few decisions of others are lost.
    """
    import numpy as np

    each = np.where(totals > 0, hits / np.where(totals > 0, totals, 1.0), 1.0)
    by_sample = Agreement(each, np.ones(len(each)))
    return [by_sample] if bool((hits == totals).all()) else [by_sample, Agreement(hits, totals, rare=True)]


def _binary(reference: Array, candidate: Array) -> list[Agreement]:
    at = threshold(reference)
    ours, theirs = ((array >= at).reshape(len(array), -1) for array in (reference, candidate))
    return [_shares(ours == theirs), *_uncommon(ours, theirs)]


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
    return [_shares(np.array([[a == b] for a, b in zip(ours, theirs, strict=True)]))]


def _vectors(reference: Array, candidate: Array) -> list[Agreement]:
    """Return the cosine of each sample, and the share of samples with the same nearest neighbour."""
    import numpy as np

    ours, theirs = _units(reference), _units(candidate)
    cosines = np.clip((ours * theirs).sum(1), 0.0, 1.0)
    result = [Agreement(cosines, np.ones(len(ours)))]
    if len(ours) > 2:
        result.append(_shares(_same_neighbour(ours, theirs)[:, None]))
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


def _explained(reference: Array, candidate: Array) -> list[Agreement]:
    """Return the share of the variance that is explained, for each group of entries of one scale."""
    import numpy as np

    result = []
    for ours, theirs in scales(reference, candidate):
        variation = _variation(ours) ** 2
        errors = ((ours - theirs) ** 2).sum(1)
        result.append(Agreement(np.full(len(ours), variation) - errors, np.full(len(ours), variation)))
    return result


def _variation(ours: Array) -> float:
    """Return the root mean square over the samples of the distance to the mean, at least _CONSTANT of the size."""
    import numpy as np

    spread = float(np.sqrt(((ours - ours.mean(0)) ** 2).sum(1).mean()))
    size = float(np.sqrt((ours**2).sum(1).mean()))
    return max(spread, _CONSTANT * size) or 1.0


def _unknown(reference: Array, candidate: Array) -> list[Agreement]:
    """Return 1 - error / variation of each group of one scale, and the shares of equal decisions that it may stand for.

    These are the sign, or the crossing of one half by numbers between 0 and 1, and the largest entry of a table.
    """
    import numpy as np

    result = []
    for ours, theirs in scales(reference, candidate):
        errors = np.sqrt(((ours - theirs) ** 2).sum(1)) / _variation(ours)
        result.append(Agreement(np.maximum(1 - errors, 0.0), np.ones(len(errors))))
        result += _crossings(ours, theirs)
    if reference.ndim == 2 and reference.shape[1] > 1:
        result.append(_largest(reference, candidate))
    return result


def _largest(reference: Array, candidate: Array) -> Agreement:
    """Return the share of samples whose largest entry in the candidate is about the largest in the original."""
    import numpy as np

    ours = reference.astype(np.float64)
    picked = np.take_along_axis(ours, candidate.argmax(1)[:, None], 1)[:, 0]
    near = _NEAR * float(ours.std()) + _CONSTANT * float(np.sqrt((ours**2).mean()))
    return _shares((ours.max(1) - picked <= near)[:, None])


def _crossings(ours: Array, theirs: Array) -> list[Agreement]:
    """Return the share of entries on the same side of the threshold, if both sides are common."""
    import numpy as np

    at = threshold(ours)
    above, near = ours >= at, _NEAR * float(ours.std())
    if not _RARE < float(above.mean()) < 1 - _RARE:
        return []
    clear = (np.abs(ours - at) > near) | (np.abs(theirs - at) > near)
    return [_shares((above == (theirs >= at)) | ~clear)]


def scales(reference: Array, candidate: Array) -> list[tuple[Array, Array]]:
    """Split an output into groups of channels of one scale; return (original, candidate) [samples, entries] of each.

    Channels are the entries of the axis (of at most 512) whose root mean squares fall into the most groups. A group
    ends where the next larger root mean square is over SCALE_GAP times as large.
    """
    import numpy as np

    ours, theirs = (array.astype(np.float64) for array in (reference, candidate))
    axes = [axis for axis in range(1, ours.ndim) if 1 < ours.shape[axis] <= _CHANNELS]
    groups_by_axis = {axis: _groups(_sizes(ours, axis)) for axis in axes}
    axis = max(groups_by_axis, key=lambda one: len(groups_by_axis[one]), default=None)
    if axis is None or len(groups_by_axis[axis]) < 2:
        return [(ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1))]
    return [
        (_channels(ours, axis, channels), _channels(theirs, axis, channels))
        for channels in groups_by_axis[axis]
    ]


def _channels(array: Array, axis: int, channels: Array) -> Array:
    import numpy as np

    taken: Array = np.take(array, channels, axis).reshape(len(array), -1)
    return taken


def _sizes(array: Array, axis: int) -> Array:
    """Return the root mean square of each channel."""
    import numpy as np

    others = tuple(i for i in range(array.ndim) if i != axis)
    sizes: Array = np.sqrt((array**2).mean(others))
    return sizes


def _groups(sizes: Array) -> list[Array]:
    """Return the channels of each group; channels that are always 0 belong to the group of the smallest ones."""
    import numpy as np

    order = np.argsort(sizes, kind="stable")
    ordered = sizes[order]
    ends = np.flatnonzero((ordered[:-1] > 0) & (ordered[1:] > SCALE_GAP * ordered[:-1])) + 1
    return list(np.split(order, ends))


def _detections(reference: Outputs, candidate: Outputs, layout: detections.Layout) -> list[Agreement]:
    """Return F1 of the detections."""
    import numpy as np

    count = len(reference[layout.boxes])
    pairs = np.array([detections.matched(reference, candidate, layout, i) for i in range(count)]).reshape(
        -1, 2
    )
    return _rare(pairs[:, 0], pairs[:, 1])


_MEASURES: Mapping[Role, Callable[[Array, Array], list[Agreement]]] = {
    "classes": _classes,
    "labels": _labels,
    "binary": _binary,
    "steps": _steps,
    "ctc": _ctc,
    "vector": _vectors,
    "mask": _masks,
    "numbers": _explained,
    "state": _explained,
    "ids": _equal,
    "unknown": _unknown,
}
