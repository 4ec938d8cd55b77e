"""Whether a remedy helped: what is measured after it against what was measured before, judged again and again.

Each measurement after the remedy either is better than most of those before it or not. If the remedy changed nothing,
that happens about as often as it did before. A gambler who bets on "better" then does not win: his wealth is a test
martingale, and the chance that it ever reaches 1 / alpha is at most alpha (Ville's inequality), however often it is
looked at. Mixing several stakes makes it grow whatever the size of the effect (../shared: mixture of 7 bets).

    Waudby-Smith, Ramdas: Estimating means of bounded random variables by betting. JRSS B, 2023.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

# The chance that a remedy without any effect is kept.
ALPHA = 0.05
# It must improve the median by this share at least: a smaller effect is not worth a changed server.
LEAST_GAIN = 0.05
# So few measurements before it say too little.
LEAST = 5
_STAKES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)  # shares of the largest possible stake


@dataclass
class Effect:
    """The evidence that a remedy helped. Values are "lower is better"."""

    before: Sequence[float]
    after: list[float] = field(default_factory=list)
    _wealth: list[float] = field(default_factory=lambda: [1.0] * len(_STAKES))

    def add(self, value: float) -> None:
        """Add a measurement after the remedy."""
        self.after.append(value)
        if len(self.before) < LEAST:
            return
        chance = self.chance
        won = 1.0 if value < self.threshold else 0.0
        for index, stake in enumerate(_STAKES):
            # The largest stake that cannot lose everything is 1 / chance.
            self._wealth[index] *= 1 + stake / chance * (won - chance)

    @property
    def threshold(self) -> float:
        """What a value must be below to count as better: the median before the remedy, less the least gain."""
        middle = statistics.median(self.before)
        return middle - LEAST_GAIN * abs(middle)

    @property
    def chance(self) -> float:
        """How often a value is better if the remedy does nothing, at most: the share before it, and its uncertainty.

        The share of n measurements is off by less than sqrt(log(1 / 0.2) / 2n) in four of five cases (Hoeffding).
        """
        count = len(self.before)
        share = sum(value < self.threshold for value in self.before) / count
        return min(0.95, share + math.sqrt(math.log(5) / (2 * count)))

    @property
    def wealth(self) -> float:
        """The evidence: the mean wealth of the gamblers."""
        return sum(self._wealth) / len(self._wealth)

    @property
    def helped(self) -> bool:
        """Whether the evidence is enough."""
        return self.wealth >= 1 / ALPHA

    @property
    def hopeless(self) -> bool:
        """Whether so little is better that more measurements would hardly change it."""
        return len(self.after) >= 2 * LEAST and self.wealth < ALPHA

    def __str__(self) -> str:
        """Return the figures in words."""
        if not self.after:
            return "nothing was measured after it"
        if len(self.before) < LEAST:
            return f"only {len(self.before)} measurements before it, which say too little"
        was, now = statistics.median(self.before), statistics.median(self.after)
        return (
            f"the median was {abs(was):.4g} in {len(self.before)} measurements before it and is {abs(now):.4g} "
            f"in {len(self.after)} after it; evidence {self.wealth:.3g} of the {1 / ALPHA:.0f} that are needed"
        )
