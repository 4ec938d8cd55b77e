"""How near the numbers of a candidate's output are to those of the original."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgehone.evaluation.counted import Agreement, equal_shares
from edgehone.evaluation.metrics import threshold
from edgehone.evaluation.scales import one_scale_groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# Numbers within this share of their standard deviation from the threshold are on neither side.
_NEAR = 0.02
# A threshold decides something where both of its sides are common.
_RARE = 0.05
# Numbers that vary by less than this share of their size are constant, but for rounding.
_CONSTANT = 1e-3


def explained(reference: Array, candidate: Array) -> list[Agreement]:
    """Return the share of the variance that is explained, for each group of entries of one scale."""
    import numpy as np

    result = []
    for ours, theirs in one_scale_groups(reference, candidate):
        variation = _variation(ours) ** 2
        errors = ((ours - theirs) ** 2).sum(1)
        result.append(Agreement(np.full(len(ours), variation) - errors, np.full(len(ours), variation)))
    return result


def relative_error_and_decisions(reference: Array, candidate: Array) -> list[Agreement]:
    """Return 1 - error / variation of each group of one scale, and the shares of equal decisions that it may stand for.

    These are the sign, or the crossing of one half by numbers between 0 and 1, and the largest entry of a table.
    """
    import numpy as np

    result = []
    for ours, theirs in one_scale_groups(reference, candidate):
        errors = np.sqrt(((ours - theirs) ** 2).sum(1)) / _variation(ours)
        result.append(Agreement(np.maximum(1 - errors, 0.0), np.ones(len(errors))))
        result += _crossings(ours, theirs)
    if reference.ndim == 2 and reference.shape[1] > 1:
        result.append(_largest(reference, candidate))
    return result


def _variation(ours: Array) -> float:
    """Return the root mean square over the samples of the distance to the mean, at least _CONSTANT of the size."""
    import numpy as np

    spread = float(np.sqrt(((ours - ours.mean(0)) ** 2).sum(1).mean()))
    size = float(np.sqrt((ours**2).sum(1).mean()))
    return max(spread, _CONSTANT * size) or 1.0


def _largest(reference: Array, candidate: Array) -> Agreement:
    """Return the share of samples whose largest entry in the candidate is about the largest in the original."""
    import numpy as np

    ours = reference.astype(np.float64)
    picked = np.take_along_axis(ours, candidate.argmax(1)[:, None], 1)[:, 0]
    near = _NEAR * float(ours.std()) + _CONSTANT * float(np.sqrt((ours**2).mean()))
    return equal_shares((ours.max(1) - picked <= near)[:, None])


def _crossings(ours: Array, theirs: Array) -> list[Agreement]:
    """Return the share of entries on the same side of the threshold, if both sides are common."""
    import numpy as np

    at = threshold(ours)
    above, near = ours >= at, _NEAR * float(ours.std())
    if not _RARE < float(above.mean()) < 1 - _RARE:
        return []
    clear = (np.abs(ours - at) > near) | (np.abs(theirs - at) > near)
    return [equal_shares((above == (theirs >= at)) | ~clear)]
