"""Whether a remedy helped: what is measured after it against what was measured before, judged again and again.

A measurement is bad if it is beyond a cut, which is chosen from the first third of those before the remedy: between how
it was and how it should be. The shares of bad ones before and after are compared by `drift.effect`, whose verdict is
wrong with a probability of at most ALPHA, however often one looks. Measurements are of whole intervals between two
looks, so that requests may depend on each other within one.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from edgehone.drift.effect import Effect, Verdict

ALPHA = 0.05
# A share of bad intervals that is lower by less is no improvement worth a changed server.
MARGIN = 0.25
# Times must be shorter by this share of their median to count as better: most before it must not.
LEAST_GAIN = 0.2
# The fewest measurements before a remedy, and the smallest share of bad ones among them.
LEAST, LEAST_BAD = 12, 0.5


class Judged:
    """The evidence that a remedy helped. Lower measurements are better."""

    def __init__(self, before: Sequence[float], limit: float | None) -> None:
        """`limit` is where the measurements should be; None for times, which should only become shorter."""
        first = before[: max(1, len(before) // 3)]
        self.cut = cut_of(first, limit) if before else 0.0
        self._before, self._after = list(before[len(first) :]), list[float]()
        self._effect = Effect(MARGIN, ALPHA)
        for value in self._before:
            self._effect.before(value > self.cut)

    @property
    def can_tell(self) -> bool:
        """Whether an improvement could be seen: enough measurements before it, and enough bad ones."""
        bad = sum(value > self.cut for value in self._before)
        return len(self._before) >= LEAST - LEAST // 3 and bad >= LEAST_BAD * len(self._before)

    def add(self, value: float) -> None:
        """Add a measurement after the remedy."""
        self._after.append(value)
        self._effect.after(value > self.cut)

    @property
    def verdict(self) -> Verdict:
        """Return the verdict on the measurements so far."""
        return self._effect.verdict

    def __str__(self) -> str:
        """Return the verdict with its figures."""
        if not self._after or not self._before:
            return f"{len(self._before)} measurements before it and {len(self._after)} after it tell nothing"
        was, now = statistics.median(self._before), statistics.median(self._after)
        shares = [sum(value > self.cut for value in part) / len(part) for part in (self._before, self._after)]
        return (
            f"median {abs(was):.4g} before it and {abs(now):.4g} after it; beyond {abs(self.cut):.4g} were "
            f"{shares[0]:.0%} of {len(self._before)} measurements before it and {shares[1]:.0%} of {len(self._after)} "
            "after it"
        )


def cut_of(first: Sequence[float], limit: float | None) -> float:
    """Return beyond what a measurement is bad: half way to the limit, or clearly less than it was."""
    middle = statistics.median(first)
    return middle - LEAST_GAIN * abs(middle) if limit is None else (middle + limit) / 2
