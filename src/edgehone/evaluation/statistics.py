"""Means, ratios and quantiles with their 95 % intervals.

Tokens of one window, and runs of one process, are not independent: the independent samples are the windows and the
processes. Sums are therefore kept per cluster, and the degrees of freedom of an interval come from the number of
clusters. With fewer than two clusters there is a value and no interval.

Sources: Cochran, Sampling Techniques (1977), ch. 6 (ratio estimator); Miller, "Adding Error Bars to Evals"
(2024) (clustered standard errors); Wilks (1941), "Determination of sample sizes for setting tolerance
limits".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from edgehone.core.figure import PREDICTED, Figure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

BOOTSTRAP_ROUNDS = 2000
# The share of rounds that is left out at either end.
TRIMMED = 0.2
SEED = 20240601  # fixed: the same samples always give the same interval


@dataclass(frozen=True)
class Interval:
    """A value, the bounds of its 95 % interval (None if n is too small), and the number n of independent samples."""

    value: float
    low: float | None
    high: float | None
    n: int

    def figure(self, unit: str = "", least: float | None = None, most: float | None = None) -> Figure:
        """Return it as a figure, with the interval cut to the possible range from `least` to `most`."""
        low, high = self.low, self.high
        if low is not None and least is not None:
            low = min(max(low, least), self.value)
        if high is not None and most is not None:
            high = max(min(high, most), self.value)
        return Figure(self.value, low, high, self.n, unit)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function, by Lentz's continued fraction (Numerical Recipes, 6.4)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1) / (a + b + 2):  # where the fraction converges fast
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny = 1e-300
    c, d = 1.0, 1.0 / max(1.0 - (a + b) * x / (a + 1), tiny)
    total = d
    for m in range(1, 500):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / ((1.0 + term * d) or tiny)
            c = (1.0 + term / c) or tiny
            total *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return math.exp(front) * total / a


@lru_cache(maxsize=256)
def t_quantile(df: int, p: float = 0.975) -> float:
    """Return the p-quantile (p > 0.5) of Student's t with `df` degrees of freedom, to a relative error of 1e-12.

    P(T > t) = I_x(df/2, 1/2) / 2 with x = df / (df + t²), solved for t by bisection.
    Raises ValueError if df < 1 or p is not in (0.5, 1).
    """
    if df < 1 or not 0.5 < p < 1.0:
        raise ValueError(f"no t quantile for df={df}, p={p}")
    low, high = 0.0, 1.0
    while 0.5 * _incomplete_beta(df / 2, 0.5, df / (df + high * high)) > 1 - p:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if 0.5 * _incomplete_beta(df / 2, 0.5, df / (df + middle * middle)) > 1 - p:
            low = middle
        else:
            high = middle
        if high - low <= 1e-13 * high:
            break
    return (low + high) / 2


def mean_interval(values: ArrayLike) -> Interval:
    """Return the mean of independent values with its t interval. Raises ValueError if there are none."""
    import numpy as np

    x = _floats(values)
    mean = float(x.mean())
    if x.size < 2:
        return Interval(mean, None, None, int(x.size))
    half = t_quantile(x.size - 1) * float(x.std(ddof=1)) / float(np.sqrt(x.size))
    return Interval(mean, mean - half, mean + half, int(x.size))


def trimmed_interval(values: ArrayLike) -> Interval:
    """Return the 20 % trimmed mean of independent values with its t interval; the plain mean of fewer than five.

    Of n values the floor(0.2 n) smallest and largest are left out, and the variance is the winsorized one with n - 2g -
    1 degrees of freedom (Tukey and McLaughlin 1963; Yuen 1974). One round in a slow minute of the machine, which would
    widen the interval of a mean by a factor, hardly moves it. Raises ValueError if there are no values.
    """
    import numpy as np

    x = np.sort(_floats(values))
    n = int(x.size)
    g = int(TRIMMED * n + 1e-9)
    if g == 0:
        return mean_interval(x)
    kept = n - 2 * g
    mean = float(x[g : n - g].mean())
    spread = float(np.clip(x, x[g], x[n - g - 1]).std(ddof=1))
    half = t_quantile(kept - 1) * spread / ((kept / n) * math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def clustered_mean(values: ArrayLike, clusters: ArrayLike) -> Interval:
    """Return the mean over all values with a cluster-robust interval; `n` is the number of clusters.

    The mean is the ratio of the clusters' sums to their sizes, so clusters may differ in size.
    """
    import numpy as np

    x = _floats(values)
    return clustered_ratio(x, np.ones_like(x), clusters)


def clustered_ratio(numerators: ArrayLike, denominators: ArrayLike, clusters: ArrayLike) -> Interval:
    """Return sum(numerators) / sum(denominators), both of the same samples, with a cluster-robust interval.

    Cochran's ratio estimator: with cluster sums y and x and r = Σy/Σx, the variance of r is
    k/(k-1) · Σ(y - r·x)² / (Σx)², and the interval takes t with k-1 degrees of freedom. Since
    numerators and denominators are paired, common variation cancels. Raises ValueError if the denominators sum to 0.
    """
    import numpy as np

    y, x = _floats(numerators), _floats(denominators)
    groups = np.asarray(clusters).ravel()
    if not y.size == x.size == groups.size:
        raise ValueError(f"sizes differ: {y.size} numerators, {x.size} denominators, {groups.size} clusters")
    names, index = np.unique(groups, return_inverse=True)
    ys, xs = np.bincount(index, weights=y), np.bincount(index, weights=x)
    total = float(xs.sum())
    if total == 0.0:
        raise ValueError("the denominators sum to 0: there is no ratio")
    ratio, k = float(ys.sum()) / total, int(names.size)
    if k < 2:
        return Interval(ratio, None, None, k)
    variance = k / (k - 1) * float(((ys - ratio * xs) ** 2).sum()) / total**2
    half = t_quantile(k - 1) * math.sqrt(variance)
    return Interval(ratio, ratio - half, ratio + half, k)


def percentile_needs(q: float, confidence: float = 0.99) -> int:
    """Return the number of samples needed to report the q-quantile: 662 for p99, 130 for p95, 64 for p90.

    It is the smallest n for which the second largest of n samples lies at or above the q-quantile with
    `confidence`: q^n + n·(1-q)·q^(n-1) ≤ 1 - confidence (Wilks 1941, second order). MLPerf Inference's
    early stopping requires the same counts: 64 single-stream queries (p90), 662 multi-stream (p99).
    """
    if not 0.0 < q < 1.0:
        raise ValueError(f"a quantile is between 0 and 1, not {q}")
    n = 2
    while q**n + n * (1 - q) * q ** (n - 1) > 1 - confidence:
        n += 1
    return n


def quantile_interval(values: ArrayLike, q: float, clusters: ArrayLike | None = None) -> Interval:
    """Return the q-quantile with its 95 % interval. Check `percentile_needs` before reporting it.

    For independent values the ends are order statistics whose ranks follow from the binomial distribution (without an
    assumption on the values' distribution; no interval if n is too small). With clusters it is a percentile bootstrap
    over whole clusters.
    """
    import numpy as np

    x = np.sort(_floats(values))
    if clusters is not None:
        return _bootstrap_quantile(_floats(values), q, np.asarray(clusters).ravel())
    n = int(x.size)
    value = float(np.quantile(x, q))
    ranks = np.arange(n + 1)
    gammas = np.array([math.lgamma(i + 1) for i in range(n + 1)])
    with np.errstate(divide="ignore"):
        log_pmf = gammas[n] - gammas - gammas[::-1] + ranks * math.log(q) + (n - ranks) * math.log1p(-q)
    cdf = np.cumsum(np.exp(log_pmf))
    lower = int(np.searchsorted(cdf, 0.025, side="right"))  # P(fewer than `lower` values below) ≤ 2.5 %
    upper = int(np.searchsorted(cdf, 0.975, side="left")) + 1
    low = float(x[lower - 1]) if lower >= 1 else None
    high = float(x[upper - 1]) if upper <= n else None
    return Interval(value, low, high, n)


def _bootstrap_quantile(x: Floats, q: float, groups: NDArray[Any]) -> Interval:
    """Draw clusters with replacement. A draw is a weight for each value, so the values are sorted only once."""
    import numpy as np

    order = np.argsort(x, kind="stable")
    names, index = np.unique(groups[order], return_inverse=True)
    ordered, k = x[order], int(names.size)
    value = float(np.quantile(x, q))
    if k < 2:
        return Interval(value, None, None, k)
    generator = np.random.default_rng(SEED)
    quantiles = np.empty(BOOTSTRAP_ROUNDS)
    for i in range(BOOTSTRAP_ROUNDS):
        weights = np.bincount(generator.integers(0, k, k), minlength=k)[index]
        reached = np.cumsum(weights)
        quantiles[i] = ordered[np.searchsorted(reached, q * reached[-1], side="left")]
    low, high = np.quantile(quantiles, [0.025, 0.975])
    return Interval(value, min(float(low), value), max(float(high), value), k)


def rounds_interval(rounds: Sequence[Sequence[float]]) -> Interval:
    """Return the trimmed geometric mean of the rounds' medians with its interval; n is the number of rounds.

    Runs within one process share its memory layout and clock, so only rounds are independent. The median within a round
    keeps one interrupted run from moving the figure. Influences on a process (the clock, other processes) multiply its
    times, so the t interval is computed over their logarithms: it is never below 0, and the interval of a rate is the
    inverse of the interval of its time. Raises ValueError if a sample is not positive or a round is empty.
    """
    import numpy as np

    if not rounds or any(not r for r in rounds):
        raise ValueError("a round without samples has no median")
    medians = [float(np.median(np.asarray(r, dtype=np.float64))) for r in rounds]
    if min(medians) <= 0:
        raise ValueError(f"a time or rate of {min(medians)} is not positive")
    logs = trimmed_interval(np.log(medians))
    if logs.low is None or logs.high is None:
        return Interval(math.exp(logs.value), None, None, logs.n)
    return Interval(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), logs.n)


def quantile_of_rounds(rounds: Sequence[Sequence[float]], q: float) -> Interval:
    """Return the q-quantile of the samples of all rounds with its interval; n is the number of rounds.

    Two causes of error add in quadrature, as logarithms: few samples (the order statistics of `quantile_interval`), and
    what differs from round to round and multiplies all times of a process (a t interval over the logarithms of the k
    rounds' medians). A quantile away from the median also depends on how much the rounds differ, which k of them tell
    imprecisely: with z, that quantile of the standard normal, the variance of mean + z · deviation is
    1 + k·z²/(2(k-1)) times that of the mean (for normal logarithms; Meeker, Hahn and Escobar, "Statistical Intervals",
    2017). Order statistics alone take the samples of one process for independent. Raises ValueError if a sample is not
    positive or a round is empty.
    """
    pooled = quantile_interval([value for one in rounds for value in one], q)
    between = rounds_interval(rounds)
    if None in (pooled.low, pooled.high, between.low):
        return Interval(pooled.value, None, None, len(rounds))
    assert pooled.low is not None and pooled.high is not None and between.low is not None
    k, z = len(rounds), NormalDist().inv_cdf(q)
    shift = math.log(between.value / between.low) * math.sqrt(1 + k * z**2 / (2 * (k - 1)))
    down = math.hypot(math.log(pooled.value / pooled.low), shift)
    up = math.hypot(math.log(pooled.high / pooled.value), shift)
    return Interval(pooled.value, pooled.value * math.exp(-down), pooled.value * math.exp(up), len(rounds))


def coefficient_of_variation(values: ArrayLike) -> float | None:
    """Return the standard deviation divided by the mean; None with fewer than two values or a mean of 0."""
    x = _floats(values)
    mean = float(x.mean())
    return None if x.size < 2 or mean == 0.0 else float(x.std(ddof=1)) / abs(mean)


def share_interval(successes: int, n: int) -> Interval:
    """Return the share of n independent trials with Wilson's interval (Wilson 1927), which is valid at 0 and 1 too."""
    if n < 1:
        raise ValueError("there is no share of 0 trials")
    p, z2 = successes / n, 1.959964**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return Interval(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), n)


def no_difference(n: int) -> float:
    """Return the lower end of a share of which all of n samples are hits: 0.025^(1/n) (Clopper & Pearson 1934)."""
    return float(0.025 ** (1 / n))


def samples_needed(share: float) -> int:
    """Return the number of samples that show a share of at least `share` (0 to 1) if all of them are hits."""
    return max(1, math.ceil(math.log(0.025) / math.log(share) - 1e-9))


def ratio_of(top: Figure, bottom: Figure, unit: str = "") -> Figure:
    """Return top / bottom of two independent positive figures with its interval.

    MOVER in logarithms (Zou & Donner 2008): the distances of the limits add in quadrature. If an interval is missing or
    reaches 0, there is a value and no interval.
    """
    if top.value is None or bottom.value is None:
        return Figure.missing((top.reason if top.value is None else bottom.reason) or "not measured", unit)
    if top.value <= 0 or bottom.value <= 0:
        return Figure.missing(f"no ratio of {top.value:g} and {bottom.value:g}", unit)
    ratio, n = top.value / bottom.value, min(top.n, bottom.n)
    ends = (top.low, top.high, bottom.low, bottom.high)
    label = PREDICTED if top.predicted or bottom.predicted else None
    if any(end is None or end <= 0 for end in ends):
        return Figure(ratio, n=n, unit=unit, reason=label)
    top_low, top_high, bottom_low, bottom_high = (float(end) for end in ends if end is not None)
    down = math.hypot(math.log(top.value / top_low), math.log(bottom_high / bottom.value))
    up = math.hypot(math.log(top_high / top.value), math.log(bottom.value / bottom_low))
    return Figure(ratio, ratio * math.exp(-down), ratio * math.exp(up), n, unit, label)


def _floats(values: ArrayLike) -> Floats:
    import numpy as np

    x = np.asarray(values, dtype=np.float64).ravel()
    if x.size == 0:
        raise ValueError("there are no values")
    return x
