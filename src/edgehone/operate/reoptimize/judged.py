"""Champion and challenger compared on requests that neither was made from, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgehone.core.figure import Figure
from edgehone.evaluation import statistics as st

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# The 95 % interval of the difference must exclude 0, and the sign test must reject at this level: it holds for any
# distribution, also where few pairs differ.
_LEVEL = 0.05


@dataclass(frozen=True)
class Judged:
    """The outcome. `quality` says in words what is compared, `gain` how much better the challenger is (0: equal).

    `p` is that of the one-sided sign test over `differing` of `pairs`. `figures` are further figures by name, of both.
    """

    quality: str
    champion: Figure
    challenger: Figure
    gain: Figure
    pairs: int
    differing: int
    p: float
    better: bool
    figures: Mapping[str, Figure]

    @property
    def sentence(self) -> str:
        """The outcome in one sentence with figures."""
        verdict = "better" if self.better else "not proven to be better"
        low, high = (math.nan if one is None else one for one in (self.gain.low, self.gain.high))
        return (
            f"the challenger is {verdict} on the held-out requests: {self.quality} {self.challenger.value:.4g}, "
            f"{self.champion.value:.4g} of the champion; gain {self.gain.value:.4g} ({low:.4g} to {high:.4g}) over "
            f"{self.pairs} pairs, sign test p = {self.p:.2g}"
        )

    def write(self, path: Path) -> None:
        """Write it as JSON, at once."""
        replace_file(path, msgspec.json.encode(self))

    @classmethod
    def read(cls, path: Path) -> Judged | None:
        """Return what `write` wrote; None if it did not."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None


def judge(
    quality: str,
    champion: ArrayLike,
    challenger: ArrayLike,
    *,
    more_is_better: bool,
    figures: Mapping[str, Figure] | None = None,
    unit: str = "",
) -> Judged:
    """Compare values of the same windows or samples, in pairs."""
    import numpy as np

    before, after = np.asarray(champion, np.float64), np.asarray(challenger, np.float64)
    gains: NDArray[Any] = after - before if more_is_better else before - after
    interval = st.mean_interval(gains)
    wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
    p = sign_test(wins, wins + losses)
    better = interval.low is not None and interval.low > 0 and p <= _LEVEL
    return Judged(
        quality,
        st.mean_interval(before).figure(unit),
        st.mean_interval(after).figure(unit),
        interval.figure(unit),
        len(gains),
        wins + losses,
        p,
        better,
        dict(figures or {}),
    )


def sign_test(wins: int, pairs: int) -> float:
    """Return the probability of at least so many wins if either side wins each pair with probability 1/2."""
    ways: int = sum(math.comb(pairs, one) for one in range(wins, pairs + 1))
    return ways / int(2**pairs)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file at once: a kill leaves the old one or the new one."""
    staged = path.with_name(f"{path.name}.new")
    staged.write_bytes(content)
    staged.replace(path)
