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


def fixed_ranks(bins: Counts, edges: Sequence[Array]) -> Array:
    """Return bins as centred ranks of about unit variance, (samples, names), NaN where not known."""
    sizes = np.array([[len(one) + 1] for one in edges])
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
    inside = np.where(known, bins, 0)
    upto = counts.cumsum(1)
    flat = inside + np.arange(0, counts.size, BINS)[:, None]
    equal = counts.ravel()[flat]
    below = upto.ravel()[flat] - equal
    mine = bins.astype(np.uint8)
    theirs, earlier = (
        mine.T[:, :, None],
        _earlier(bins.shape[1]),
    )  # summed over the first axis, which is the fastest
    below = below + np.add.reduce((theirs < mine) & earlier, axis=0, dtype=np.uint8)
    equal = equal + np.add.reduce((theirs == mine) & earlier, axis=0, dtype=np.uint8)
    total = upto[:, -1:] + known.cumsum(1) - known
    p = (below + theta * (equal + 1)) / (total + 1)
    p[~known] = np.nan
    return np.asarray(p)


@cache
def _earlier(size: int) -> NDArray[np.bool_]:
    """Return which request comes before which, (theirs, 1, mine)."""
    return np.tri(size, k=-1, dtype=bool).T[:, None, :].copy()
