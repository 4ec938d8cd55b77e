"""Ranks of new values among the reference and everything seen since: smoothed conformal p-values.

p = (values below + θ (equal values + 1)) / (values + 1), θ uniform. If reference and traffic are exchangeable, the
p-values of successive requests are independent and uniform, however small the reference is: no distribution has to be
known (Vovk, Nouretdinov and Gammerman, Testing exchangeability on-line, ICML 2003). Values are compared by bins whose
edges come from other samples than those that are counted; equal means the same bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from edgehone.core.arrays import Array, Counts, NDArray, np

# Bins of a value. The outer ones, beyond the edges, must be narrower than the smallest tail that is tested.
BINS = 128
_MISSING = BINS


def edges_of(values: Array) -> Array:
    """Return the distinct quantiles of known values, BINS - 1 at most."""
    known = values[~np.isnan(values)]
    return np.unique(np.quantile(known, np.linspace(0, 1, BINS - 1), method="inverted_cdf"))


def bins_of(values: Array, edges: Sequence[Array]) -> Counts:
    """Return the bin of each value, (names, samples) from (samples, names); BINS where it is not known.

    A value equal to an edge belongs to the bin below it: bin k has edge[k - 1] < value ≤ edge[k].
    """
    bins = np.empty(values.shape[::-1], np.int64)
    for row, (one, column) in enumerate(zip(edges, values.T, strict=True)):
        bins[row] = one.searchsorted(column)
    bins[np.isnan(values.T)] = _MISSING
    return bins


def sizes_of(edges: Sequence[Array]) -> Counts:
    """Return the number of bins of each value, (names, 1)."""
    return np.array([[len(one) + 1] for one in edges])


def fixed_ranks(bins: Counts, sizes: Counts) -> Array:
    """Return bins as centred ranks of about unit variance, (samples, names), NaN where not known."""
    ranks = ((bins + 0.5) / sizes - 0.5) * np.sqrt(12)
    ranks[bins == _MISSING] = np.nan
    return np.asarray(ranks.T)


def count(bins: Counts) -> Counts:
    """Return how often each bin occurs, (names, BINS)."""
    rows = len(bins)
    flat = (bins + np.arange(rows)[:, None] * BINS)[bins != _MISSING]
    return np.bincount(flat, minlength=rows * BINS).reshape(rows, BINS)


def p_values(bins: Counts, counts: Counts, theta: Array) -> Array:
    """Return the p-values of successive requests, (names, requests), NaN where the value is not known.

    `counts` (names, BINS) is the pool before the first of them; each of them counts for those after it.
    """
    known = bins != _MISSING
    everything = bool(known.all())
    upto = counts.cumsum(1)
    flat = (bins if everything else np.where(known, bins, 0)) + np.arange(0, counts.size, BINS)[:, None]
    equal = counts.take(flat)
    below = upto.take(flat) - equal
    below_earlier, equal_earlier = _earlier(bins)
    below += below_earlier
    equal += equal_earlier
    before = np.arange(bins.shape[1]) if everything else known.cumsum(1) - known
    p = (below + theta * (equal + 1)) / (upto[:, -1:] + before + 1)
    if not everything:
        p[~known] = np.nan
    return np.asarray(p)


def _earlier(bins: Counts) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return how many requests before each one in the batch have a smaller bin, and how many an equal one.

    Eight requests are a word of bytes, and words are added along the first axis, which is much faster than bytes. No
    byte overflows with up to 255 requests.
    """
    values, requests = bins.shape
    words = -(-requests // 8)
    mine = np.zeros((values, 8 * words), np.uint8)
    mine[:, :requests] = bins
    repeated = mine.T[:requests].astype(np.uint64) * 0x0101010101010101
    # (theirs, words of mine, values, bytes)
    theirs = (repeated[:, None, :] | _later(requests)).view(np.uint8).reshape(requests, words, values, 8)
    mine = mine.reshape(values, words, 8).transpose(1, 0, 2).copy()
    below, equal = (
        np.add.reduce(one.view(np.uint64), axis=0)
        .view(np.uint8)
        .transpose(1, 0, 2)
        .reshape(values, -1)[:, :requests]
        for one in (theirs < mine, theirs == mine)
    )
    return below, equal


@cache
def _later(requests: int) -> NDArray[np.uint64]:
    """Return bytes of 255, which is above all bins, for those that do not come before: (theirs, words, 1)."""
    after = np.zeros((requests, -(-requests // 8) * 8), np.uint8)
    after[:, :requests] = np.where(np.tri(requests, dtype=bool), 255, 0)
    return after.view(np.uint64)[:, :, None].copy()
