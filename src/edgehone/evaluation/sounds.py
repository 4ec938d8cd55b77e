"""How alike two sounds are: their spectra over time, whose frames are paired by dynamic time warping.

Entries of two waves are not compared: a phase or a start that differs changes all of them and is not heard. Neither is
the sampling rate known, so frames and bands are shares of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgehone.evaluation.counted import Agreement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# Entries of a frame, and from one to the next: 46 and 12 ms at 22,050 Hz, as synthesizers' own mel spectra have them.
FRAME, HOP = 1024, 256
# Fewest entries of a sound: one frame.
LEAST = FRAME
# Bands of equal ratios, as wide as a third of a tone or one line of the spectrum.
_BANDS = 64
# The first line of the lowest band, 43 Hz at 22,050 Hz: an offset, which is not heard, reaches lines 0 and 1.
_LOWEST = 2
# What is softer by so many decibels than the loudest band of all of the original's sounds is not heard beside it.
_RANGE = 60.0
# The variance of a silence among silences, so that a noise in its place counts.
_SILENT = 1e-9
# Frames may be paired with others that are apart by this share of the sound, or so many frames.
_APART, _LEAST_APART = 0.1, 8


def alike(reference: Sequence[Array], candidate: Sequence[Array]) -> Agreement:
    """Return the share of the variance of the spectra, in decibels by band and frame, that is explained by sample.

    Both have a sound [entries] for each sample, of any length. The variance is that about the mean of all frames of all
    samples, so that a constant noise explains nothing.
    """
    import numpy as np

    ours, theirs = ([_powers(sound) for sound in side] for side in (reference, candidate))
    least = max(max(float(one.max(initial=0.0)) for one in ours) * 10 ** (-_RANGE / 10), 1e-30)
    ours, theirs = ([_decibels(one, least) for one in side] for side in (ours, theirs))
    mean = np.concatenate(ours).mean(0)
    totals = np.array([max(((one - mean) ** 2).sum(), _SILENT) for one in ours])
    errors = np.array([_error(one, other) for one, other in zip(ours, theirs, strict=True)])
    return Agreement(totals - errors, totals)


def _decibels(powers: Array, least: float) -> Array:
    """Return decibels above what is not heard beside the original's loudest band."""
    import numpy as np

    found: Array = 10 * np.log10(np.maximum(powers, least) / least)
    return found


def _powers(sound: Array) -> Array:
    """Return the power of each band in each frame [frames, bands] of a sound [entries]; at least one frame."""
    import numpy as np

    samples = np.zeros(max(FRAME, -(-len(sound) // HOP) * HOP))
    samples[: len(sound)] = sound
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]
    window = np.hanning(FRAME + 1)[:-1]
    lines = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    edges = np.unique(np.geomspace(_LOWEST, lines.shape[1], _BANDS + 1).astype(int))
    powers: Array = np.add.reduceat(lines, edges[:-1], axis=1)
    return powers


def _error(ours: Array, theirs: Array) -> float:
    """Return the sum over the frames of the first of their squared distance to the frames they are paired with.

    Frames are paired in order, so that the sum over all pairs is least (Sakoe and Chiba, 1978). A frame that is paired
    with several counts once, with their mean.
    """
    import numpy as np

    if np.array_equal(ours, theirs):
        return 0.0
    costs = np.maximum((ours**2).sum(1)[:, None] + (theirs**2).sum(1) - 2 * ours @ theirs.T, 0.0)
    pairs = np.array([*_path(costs)])
    summed = np.bincount(pairs[:, 0], costs[pairs[:, 0], pairs[:, 1]], len(ours))
    return float((summed / np.bincount(pairs[:, 0], minlength=len(ours))).sum())


def _path(costs: Array) -> Iterator[tuple[int, int]]:
    """Yield the pairs of the cheapest path through costs [n, m], from its end to its beginning."""
    import numpy as np

    n, m = costs.shape
    rows, columns = np.ogrid[:n, :m]
    apart = max(_APART * max(n, m), _LEAST_APART, n / m, m / n)
    near = np.abs(columns * (n - 1) / max(m - 1, 1) - rows) <= apart
    # Diagonals become rows, since all entries of one depend on the two before only: [i, j] is in row i + j, column i.
    wide = np.full((n, n + m), np.inf)
    wide[:, :m] = np.where(near, costs, np.inf)
    diagonals = wide.ravel()[: n * (n + m - 1)].reshape(n, n + m - 1).T
    total = np.full((n + m + 1, n + 1), np.inf)  # of [i, j] in row i + j + 2, column i + 1
    total[0, 0] = 0.0
    for at, diagonal in enumerate(diagonals, 2):
        before = np.minimum(np.minimum(total[at - 1, 1:], total[at - 1, :-1]), total[at - 2, :-1])
        total[at, 1:] = diagonal + before
    i, j = n - 1, m - 1
    while i >= 0 and j >= 0:
        yield i, j
        steps = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        i, j = min(steps, key=lambda step: total[step[0] + step[1] + 2, step[0] + 1])
