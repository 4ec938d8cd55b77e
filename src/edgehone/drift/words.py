"""What a detector has found, in words with figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgehone.core.arrays import NDArray, np
from edgehone.drift.reference import Quantities
from edgehone.drift.settings import Words, detector_of, settings

_DIRECTIONS = {"high": "up", "low": "down"}


@dataclass(frozen=True)
class Finding:
    """The value and the kind of score with most evidence. `recent`: its latest known values."""

    name: str
    score: str
    recent: NDArray[np.float64]
    quantities: Quantities

    @property
    def direction(self) -> str:
        """Return "up", "down", "wide" or "narrow"."""
        return _DIRECTIONS.get(self.score, self.score)


def tell(found: Finding, languages: Sequence[str], counts: Mapping[str, int]) -> str:
    """Return the finding as a sentence.

    `languages` are the reference's in the order of their ranks, `counts` how often each occurred in it.
    """
    words = settings().words.get(found.name) or settings().words[detector_of(found.name)]
    if len(found.recent) == 0:
        return f"{words.what}: changed"
    if found.name == "language":
        return _languages(found.recent, languages, counts)
    if found.quantities.binary:
        return _shares(found, words)
    if found.score in ("wide", "narrow"):
        return _spread(found, words)
    sentence = getattr(words, found.direction)
    median = f"median {_with_unit(np.median(found.recent), words)}"
    median += f", {_number(found.quantities.median)} in the reference"
    if found.score in _DIRECTIONS:
        return f"{sentence}: {_tail(found, words)}; {median}"
    return f"{sentence}: {median}"


def _shares(found: Finding, words: Words) -> str:
    sentence = getattr(words, found.direction, words.what)
    share = f"{found.recent.mean():.1%} of the last {len(found.recent)}"
    return f"{sentence}: {share}, {found.quantities.mean:.1%} in the reference"


def _spread(found: Finding, words: Words) -> str:
    low, high = np.quantile(found.recent, (0.05, 0.95))
    more = "more" if found.score == "wide" else "less"
    return (
        f"{words.what} vary {more}: 90 % between {_number(low)} and {_with_unit(high, words)}, "
        f"{_number(found.quantities.low)} and {_number(found.quantities.high)} in the reference"
    )


def _tail(found: Finding, words: Words) -> str:
    above = found.score == "high"
    limit = found.quantities.high if above else found.quantities.low
    beyond = np.mean(found.recent > limit) if above else np.mean(found.recent < limit)
    side = "above" if above else "below"
    return f"{beyond:.0%} of the last {len(found.recent)} are {side} {_with_unit(limit, words)}, 5% in the reference"


def _languages(recent: NDArray[np.float64], languages: Sequence[str], counts: Mapping[str, int]) -> str:
    """Name the language whose share changed most."""
    new = "a language that is not in the reference"
    names = [languages[int(one)] if one < len(languages) else new for one in recent]
    total = max(sum(counts.values()), 1)
    before = {name: counts.get(name, 0) / total for name in {*names, *languages}}
    now = {name: names.count(name) / len(names) for name in before}
    grown = {name: round(now[name] - before[name], 6) for name in now}
    most = max(sorted(now), key=lambda name: (abs(grown[name]), grown[name]))
    return (
        f"languages changed: {most} in {now[most]:.0%} of the last {len(names)} requests, "
        f"{before[most]:.0%} in the reference"
    )


def _with_unit(value: float | np.floating, words: Words) -> str:
    return f"{_number(value)} {words.unit}".rstrip()


def _number(value: float | np.floating) -> str:
    value = float(value)
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
