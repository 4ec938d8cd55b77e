"""Split an output into groups of channels of one scale, so that large values do not hide an error of small ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# Channels whose root mean squares differ by more than this factor have one_scale_groups of their own.
SCALE_GAP = 10.0
# An axis of more entries is not one of channels.
_CHANNELS = 512


def one_scale_groups(reference: Array, candidate: Array) -> list[tuple[Array, Array]]:
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
