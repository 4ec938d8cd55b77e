"""What a candidate gains over the original, and what it loses: figures derived from speed, size and memory.

size_cut    1 - bytes / the original's bytes
memory_cut  1 - memory that the candidate adds to an empty process of its runtime / the same of the original; where
            one of them is unknown, 1 - peak memory / the original's
gain        the largest of speedup, size_cut and memory_cut, each as a multiple of what [gain] of
            data/requirements.toml requires (of the speedup: of its logarithm); 1 is enough
loss        how much worse the worst of speed, size and memory is than the original's, as a share; 0 if none is.
            More memory up to memory_slack_bytes of [loss] is none
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgehone.core.figure import Figure
from edgehone.decision.requirements import shipped
from edgehone.evaluation.statistics import ratio_of

if TYPE_CHECKING:
    from edgehone.decision.decision import Candidate


def cuts(candidate: Candidate, baseline: Candidate) -> dict[str, Figure]:
    """Return size_cut and memory_cut. They are missing, with the reason, where a size or a memory figure is."""
    return {
        "size_cut": _cut(_size(candidate), _size(baseline)),
        "memory_cut": _cut(*_memory(candidate, baseline)),
    }


def _memory(candidate: Candidate, baseline: Candidate) -> tuple[Figure, Figure]:
    """Return the memory of both that is compared: what the models add, or the peaks where that is unknown."""
    added = candidate.figure("added_memory_bytes"), baseline.figure("added_memory_bytes")
    if None in (added[0].value, added[1].value):
        return candidate.figure("peak_memory_bytes"), baseline.figure("peak_memory_bytes")
    return added


def balance(figures: Mapping[str, Figure], candidate: Candidate, baseline: Candidate) -> dict[str, Figure]:
    """Return gain and loss, from speedup, size_cut and memory_cut of the candidate."""
    speedup, cut = figures["speedup"], {name: figures[name] for name in ("size_cut", "memory_cut")}
    required: Mapping[str, float] = shipped()["gain"]
    counted = ["size_cut", *(["memory_cut"] if _saves_memory(candidate, baseline) else [])]
    gains = [_scaled(cut[name], required[name]) for name in counted if cut[name].value is not None]
    if speedup.value is None or not 0 < speedup.value < math.inf:
        reason = speedup.reason or f"the speedup is {speedup.value}"
        return {name: Figure.missing(reason) for name in ("gain", "loss")}
    gains.append(_logarithm(speedup, required["speedup"]))
    label = speedup.reason  # a prediction stays one
    ends = [(one.low, one.high) for one in gains]
    best = max(one.value for one in gains if one.value is not None)
    lows = [low for low, _ in ends if low is not None]
    highs = [high for _, high in ends if high is not None]
    return {
        "gain": Figure(best, max(lows, default=None), max(highs, default=None), speedup.n, "", label),
        "loss": _loss(speedup, [_size_loss(cut["size_cut"]), _memory_loss(candidate, baseline)]),
    }


def _saves_memory(candidate: Candidate, baseline: Candidate) -> bool:
    mine, other = _memory(candidate, baseline)
    least = float(shipped()["gain"]["memory_least_bytes"])
    return mine.value is not None and other.value is not None and other.value - mine.value >= least


def _size_loss(cut: Figure) -> float:
    return 0.0 if cut.value is None else -cut.value


def _memory_loss(candidate: Candidate, baseline: Candidate) -> float:
    """Return how much more memory the candidate adds, without the part by which runtimes differ, as a share."""
    mine, other = _memory(candidate, baseline)
    if mine.value is None or other.value is None:
        return 0.0
    slack = float(shipped()["loss"]["memory_slack_bytes"])
    return (mine.value - other.value - slack) / max(other.value, 1.0)


def _loss(speedup: Figure, others: Sequence[float]) -> Figure:
    assert speedup.value is not None
    value, low, high = (
        None if not end or end <= 0 else max(0.0, 1 / end - 1, *others)
        for end in (speedup.value, speedup.high, speedup.low)
    )
    return Figure(value, low, high, speedup.n, "share", speedup.reason)


def _size(candidate: Candidate) -> Figure:
    if candidate.bytes is None:
        return Figure.missing(candidate.error or "the artifact's size is not known", "bytes")
    return Figure(float(candidate.bytes), float(candidate.bytes), float(candidate.bytes), 1, "bytes")


def _cut(candidate: Figure, baseline: Figure) -> Figure:
    share = ratio_of(candidate, baseline, "share")
    if share.value is None:
        return share
    low, high = (None if end is None else 1 - end for end in (share.high, share.low))
    return Figure(1 - share.value, low, high, share.n, "share", share.reason)


def _scaled(cut: Figure, required: float) -> Figure:
    """Return the cut as a multiple of the required one; its value stands for the ends of a missing interval."""
    assert cut.value is not None
    low, high = (cut.value if end is None else end for end in (cut.low, cut.high))
    return Figure(cut.value / required, low / required, high / required, cut.n)


def _logarithm(speedup: Figure, required: float) -> Figure:
    assert speedup.value is not None
    scale = math.log(required)
    low, high = (
        None if not end or end <= 0 else math.log(end) / scale for end in (speedup.low, speedup.high)
    )
    return Figure(math.log(speedup.value) / scale, low, high, speedup.n)
