"""How many decisions agree in each sample, and the share of all as a figure.

Every measure of agreement is a ratio of two sums over the samples, `hits` / `totals`, so that its interval comes from
the samples. A measure of rare decisions (labels, detections) counts those that one of the two makes, so that the many
entries in which neither does cannot hide that the candidate makes none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgehone.core.figure import Figure
from edgehone.evaluation import statistics as st

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# A decision is the common one if at least this share is.
_COMMON = 0.8
# Of fewer uncommon decisions than _FEW a single loss says nothing; all of _LEAST lost do.
_FEW = 10
_LEAST = 3


@dataclass(frozen=True)
class Agreement:
    """hits[samples] out of totals[samples] decisions agree; a sample with the total 0 has none.

    `rare` decisions are judged by their value: there are too few for the lower end of an interval to say anything.
    """

    hits: Array
    totals: Array
    rare: bool = False

    def figure(self) -> Figure:
        """Return the share of decisions that agree.

        Without a difference among n samples the lower end is the share below which no difference would have been found
        with a probability under 2.5 % (Clopper & Pearson, 1934). For one decision a sample it is Wilson's interval,
        else the cluster-robust one of a ratio.
        """
        import numpy as np

        used = self.totals > 0
        hits, totals = self.hits[used], self.totals[used]
        n = int(totals.size)
        if self.rare and n:
            value = float(hits.sum() / totals.sum())
            return Figure(value, value, 1.0, n, "share")
        if n == 0:
            return Figure.missing(
                "neither the original nor the candidate decides anything on these samples", "share"
            )
        value = max(0.0, float(hits.sum() / totals.sum()))  # a candidate may explain less than the mean does
        if n < 2:
            return Figure(value, n=n, unit="share")
        if bool((hits == totals).all()):
            return Figure(1.0, st.no_difference(n), 1.0, n, "share")
        if bool((totals == 1).all()) and bool(np.isin(hits, (0.0, 1.0)).all()):
            return st.share_interval(int(hits.sum()), n).figure("share")
        interval = st.clustered_ratio(hits, totals, np.arange(n))
        return replace(interval, value=value).figure("share", least=0.0, most=1.0)


def equal_shares(equal: Array) -> Agreement:
    """Return the agreement of [samples, entries] booleans, as a share of each sample's entries."""
    import numpy as np

    return Agreement(equal.mean(1, dtype=np.float64), np.ones(len(equal)))


def uncommon_agreement(ours: Array, theirs: Array) -> list[Agreement]:
    """Return the agreement of the decisions, [samples, entries], that one side makes against the most common one.

    [] if nothing differs there, or if too few are made to count a single loss.
    """
    import numpy as np

    values, counts = np.unique(ours, return_counts=True)
    common = values[counts.argmax()]
    counted = (ours != common) | (theirs != common)
    hits, made = ((ours == theirs) & counted).sum(1).astype(float), int((ours != common).sum())
    lost = counted.sum() - hits.sum()
    if (
        len(values) < 2
        or counts.max() < _COMMON * ours.size
        or not lost
        or (made < _FEW and hits.any())
        or made < _LEAST
    ):
        return []
    return [Agreement(hits, counted.sum(1).astype(float), rare=True)]


def rare_agreement(hits: Array, totals: Array) -> list[Agreement]:
    """Return the agreement of rare decisions by sample (1 where neither side makes any), and of all where one is lost.

    Samples without a decision are evidence as well: the candidate adds none to them. But many of them must not hide
    that the few decisions of others are lost.
    """
    import numpy as np

    each = np.where(totals > 0, hits / np.where(totals > 0, totals, 1.0), 1.0)
    by_sample = Agreement(each, np.ones(len(each)))
    return [by_sample] if bool((hits == totals).all()) else [by_sample, Agreement(hits, totals, rare=True)]
