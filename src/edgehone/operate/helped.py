"""Whether a remedy helped: what is measured after it against what was measured before, judged again and again.

A measurement is bad if it is beyond a cut, which is chosen from the first third of those before the remedy: between how
it was and how it should be. Of times, which vary by factors, three cuts are tried. The shares of bad ones before and
after are compared by `drift.effect`; its verdicts, of all cuts together, are wrong with a probability of at most ALPHA,
however often one looks. Measurements are of whole intervals between two looks, so that requests may depend on each
other within one.
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
# The share of bad ones before a remedy must be known to be at least this, or those after it tell nothing.
LEAST_BAD = 0.5


class Judged:
    """The evidence that a remedy helped. Lower measurements are better."""

    def __init__(self, before: Sequence[float], limit: float | None) -> None:
        """`limit` is where the measurements should be; None for times, which should only become shorter."""
        first = before[: max(1, len(before) // 3)]
        cuts = cuts_of(first, limit) if before else ()
        self._before, self._after = list(before[len(first) :]), list[float]()
        self._effects = [(cut, Effect(MARGIN, ALPHA / len(cuts))) for cut in cuts]
        for value in self._before:
            for cut, effect in self._effects:
                effect.before(value > cut)

    @property
    def can_tell(self) -> bool:
        """Whether an improvement could be seen: bad ones are known to be common before it, by one cut at least."""
        # Before anything is measured after it, its share of bad ones may be up to 1.
        return any(effect.improvement[0] + 1 >= LEAST_BAD for _, effect in self._effects)

    def add(self, value: float) -> None:
        """Add a measurement after the remedy."""
        self._after.append(value)
        for cut, effect in self._effects:
            effect.after(value > cut)

    @property
    def verdict(self) -> Verdict:
        """Return the verdict on the measurements so far: by one cut that it helped, or by all that it did not."""
        verdicts = {effect.verdict for _, effect in self._effects}
        if "helped" in verdicts:
            return "helped"
        return "did not help" if verdicts == {"did not help"} else "not enough data"

    def __str__(self) -> str:
        """Return the verdict with its figures."""
        if not self._after or not self._before:
            return f"{len(self._before)} measurements before it and {len(self._after)} after it tell nothing"
        was, now = statistics.median(self._before), statistics.median(self._after)
        shares = "; ".join(
            f"beyond {abs(cut):.4g} were {_share(self._before, cut):.0%} and are {_share(self._after, cut):.0%}"
            for cut, _ in self._effects
        )
        counts = f"{len(self._before)} and {len(self._after)} measurements"
        return f"median {abs(was):.4g} before it and {abs(now):.4g} after it, of {counts}; {shares}"


def cuts_of(first: Sequence[float], limit: float | None) -> tuple[float, ...]:
    """Return beyond what a measurement is bad: half way to the limit, or clearly less than it was, often or mostly."""
    middle = statistics.median(first)
    if limit is not None:
        return ((middle + limit) / 2,)
    return tuple(value - LEAST_GAIN * abs(value) for value in {min(first), middle, middle / 2})


def _share(values: Sequence[float], cut: float) -> float:
    return sum(value > cut for value in values) / len(values)
