"""Whether a series grows: Mann and Kendall's test, and the slope of Theil and Sen.

A trend is called growth if it is significant at ALPHA (one-sided, normal approximation with the correction for ties and
continuity; Mann 1945, Kendall 1975) and the slope over the whole series is more than a limit. Both are needed: in a
long soak the test finds growth of a thousandth, and in a short one a slope may be chance. Without a trend at most 1 %
of series are called growth; if neighbours depend on each other (AR(1) with 0.5) the test alone would call 9 %, and the
limit of the slope keeps it below 1 % for the spread that blocks of a soak have (tests/certify/test_trend.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

ALPHA = 0.01
# With fewer values the normal approximation is poor, and a single outlier decides.
LEAST = 8


@dataclass(frozen=True)
class Trend:
    """`p` is that of growth, `growth` the Theil-Sen slope over the whole series over the median of its first half."""

    p: float
    growth: float
    n: int

    def grows(self, limit: float) -> bool:
        """Whether the growth is significant and above the limit."""
        return self.p < ALPHA and self.growth > limit


def trend(values: Sequence[float]) -> Trend:
    """Return the trend of a series. Raises ValueError if there are fewer than LEAST values."""
    values = [float(one) for one in values]
    n = len(values)
    if n < LEAST:
        raise ValueError(f"{n} values show no trend; {LEAST} are needed")
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    s = sum((values[j] > values[i]) - (values[j] < values[i]) for i, j in pairs)
    ties = sum(t * (t - 1) * (2 * t + 5) for t in _ties(values))
    variance = (n * (n - 1) * (2 * n + 5) - ties) / 18
    z = 0.0 if variance <= 0 or s == 0 else (s - math.copysign(1, s)) / math.sqrt(variance)
    slope = median((values[j] - values[i]) / (j - i) for i, j in pairs)
    base = median(values[: n // 2]) or 1.0
    return Trend(1 - NormalDist().cdf(z), slope * (n - 1) / base, n)


def _ties(values: Sequence[float]) -> list[int]:
    counts: dict[float, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return list(counts.values())
