"""The values that are ranked, computed from samples: (samples, names), NaN where not known.

`Transforms` holds what a value needs to know of the reference. It is fitted on a part of the reference that is not
ranked afterwards, so that the remaining samples and the traffic are treated alike (inductive conformal prediction:
Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, chapter 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgehone.core.arrays import Array, np
from edgehone.drift import language, tokens, vectors
from edgehone.drift.sample import Sample
from edgehone.drift.tokens import TokenTable
from edgehone.drift.vectors import VectorScale

_NONE = -7.25e300
_INFINITE = float("inf")
# name: the largest value that can be true. The order is that of `_plain`.
_PLAIN = {
    "length": _INFINITE, "answer_length": _INFINITE, "entropy": 1.0, "margin": 1.0, "latency.seconds": _INFINITE,
    "latency.first": _INFINITE, "errors": 1.0, "accuracy": 1.0,
}  # fmt: skip
_MOST = tuple(_PLAIN.values())
# Rounding of a mean may exceed 1 by this.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Label:
    """A label that came later than its request."""

    correct: bool


Seen = Sample | Label


@dataclass(frozen=True)
class Transforms:
    """What the values of tokens, languages and vectors need to know of the reference; None: not watched."""

    tokens: TokenTable | None = None
    languages: tuple[str, ...] | None = None
    vectors: VectorScale | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the values."""
        return (
            *_PLAIN,
            *(tokens.NAMES if self.tokens else ()),
            *(("language",) if self.languages else ()),
            *(self.vectors.names if self.vectors else ()),
        )

    @cached_property
    def _surprise(self) -> Array:
        assert self.tokens is not None
        return self.tokens.surprise()

    def values(self, seen: Sequence[Seen], ignored: dict[str, int]) -> Array:
        """Return the values of each sample, (samples, names). Values that cannot be true are counted in `ignored`."""
        parts = [_plain_values(seen, ignored)]
        if self.tokens:
            parts.append(self._tokens(seen, ignored))
        if self.languages:
            parts.append(np.array([[self._language(one)] for one in seen], np.float64))
        if self.vectors:
            numbers, invalid = self.vectors.values([getattr(one, "features", None) for one in seen])
            _count(ignored, "features", invalid)
            parts.append(numbers)
        return np.concatenate(parts, axis=1)

    def _tokens(self, seen: Sequence[Seen], ignored: dict[str, int]) -> Array:
        prompts = [tokens.excerpt(_or_empty(getattr(one, "ids", None))) for one in seen]
        try:
            return tokens.values_of_excerpts(prompts, self._surprise)
        except (TypeError, ValueError, OverflowError):  # one of them is no sequence of ids
            return tokens.values_of_excerpts([ids_of(one, ignored) for one in seen], self._surprise)

    def _language(self, one: Seen) -> float:
        text = getattr(one, "text", None)
        if not text:
            return np.nan
        assert self.languages is not None
        name = language.guess(text)
        return float(self.languages.index(name)) if name in self.languages else float(len(self.languages))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "tokens": self.tokens and self.tokens.to_json(),
            "languages": self.languages and list(self.languages),
            "vectors": self.vectors and self.vectors.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Transforms:
        """Read what `to_json` returned."""
        return cls(
            TokenTable(np.array(data["tokens"], np.int64)) if data["tokens"] else None,
            tuple(data["languages"]) if data["languages"] else None,
            VectorScale.from_json(data["vectors"]) if data["vectors"] else None,
        )


def fit(samples: Sequence[Sample], least: int) -> Transforms:
    """Fit the transforms of everything that at least `least` samples know."""
    prompts = [ids for one in samples if len(ids := ids_of(one, {}))]
    texts = [one.text for one in samples if one.text]
    read = [
        vector
        for one in samples
        if one.features is not None and (vector := vectors.as_vector(one.features)) is not None
    ]
    sizes = {len(one) for one in read}
    return Transforms(
        tokens.fit(prompts) if len(prompts) >= least else None,
        language.order([language.guess(one) for one in texts]) if len(texts) >= least else None,
        vectors.fit(read) if len(read) >= least and len(sizes) == 1 else None,
    )


def _plain_values(seen: Sequence[Seen], ignored: dict[str, int]) -> Array:
    table = np.array([_plain(one) for one in seen], np.float64)
    none = table == _NONE
    invalid = ~none & ~((table >= 0) & (table <= np.array(_MOST) + _ROUNDING) & (table < 1e300))
    if invalid.any():
        for name, count in zip(_PLAIN, invalid.sum(0), strict=True):
            _count(ignored, name, int(count))
    table[none | invalid] = np.nan
    return table


def _plain(one: Seen) -> tuple[float, ...]:
    if isinstance(one, Label):
        return (*(_NONE,) * 7, float(one.correct))
    ids, _, length, answer, entropy, margin, seconds, first, failed, correct, _ = one
    return (
        length or (_NONE if ids is None else len(ids)),
        # A request that failed has no answer, which is not a short one.
        answer or (_NONE if failed else 0),
        _NONE if entropy is None else entropy,
        _NONE if margin is None else margin,
        _NONE if seconds is None else seconds,
        _NONE if first is None else first,
        failed,
        _NONE if correct is None else correct,
    )


def _or_empty(ids: Sequence[int] | None) -> Sequence[int]:
    return () if ids is None else ids


def ids_of(one: Seen, ignored: dict[str, int]) -> Sequence[int]:
    """Return the part of a prompt that is read; an invalid one is counted in `ignored` and empty."""
    read = tokens.excerpt(_or_empty(getattr(one, "ids", None)))
    try:
        tokens.check(read)
    except (TypeError, ValueError, OverflowError):
        _count(ignored, "ids", 1)
        return ()
    return read


def _count(ignored: dict[str, int], name: str, count: int) -> None:
    if count:
        ignored[name] = ignored.get(name, 0) + count
