"""Numbers that describe a prompt's tokens against the reference's, from counts of hashed tokens.

A prompt is described by the mean surprise of its tokens under the reference's unigram frequencies (bits a token;
rare and unseen tokens are surprising), by the share of its tokens that repeat earlier ones, and by four random
projections of its tokens, which move when the mix of topics does, even if the tokens remain common. Tokens are
hashed into 4,096 bins, so that neither the reference nor the state holds a vocabulary or a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from edgehone.core.arrays import NDArray, np

_BITS = 12
BINS = 1 << _BITS
# Of a long prompt its beginning and its end are read: the cost of a request is bounded.
_EDGE = 32
_PROJECTIONS = 4
NAMES = ("tokens.surprise", "tokens.repetition", *(f"tokens.{one}" for one in range(_PROJECTIONS)))


@dataclass(frozen=True)
class TokenTable:
    """Counts of hashed tokens in the reference."""

    counts: NDArray[np.int64]

    def surprise(self) -> NDArray[np.float64]:
        """Return the surprise of each bin in bits, with half a count added to each (Krichevsky and Trofimov 1981)."""
        smoothed = self.counts + 0.5
        return np.asarray(-np.log2(smoothed / smoothed.sum()))

    def to_json(self) -> list[int]:
        """Return the counts."""
        return [int(one) for one in self.counts]


def excerpt(ids: Sequence[int]) -> Sequence[int]:
    """Return the tokens of a prompt that are read."""
    return ids if len(ids) <= 2 * _EDGE else [*ids[:_EDGE], *ids[-_EDGE:]]


def check(ids: Sequence[int]) -> NDArray[np.int64]:
    """Return ids as an array. Raises TypeError, ValueError or OverflowError if one is no integer from 0 to 2⁶³ - 1."""
    read = np.array(ids, dtype=np.int64)
    if read.ndim != 1 or (len(read) and read.min() < 0):
        raise ValueError("a token id is negative")
    return read


def fit(prompts: Sequence[Sequence[int]]) -> TokenTable:
    """Count the tokens of the reference's prompts."""
    flat = _hashed([one for prompt in prompts for one in excerpt(prompt)])
    return TokenTable(np.bincount(flat >> (32 - _BITS), minlength=BINS).astype(np.int64))


def values(prompts: Sequence[Sequence[int]], surprise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return NAMES of each prompt, (prompts, 6); NaN for empty prompts. `surprise` is the table's.

    Raises what `check` raises if an id is invalid.
    """
    return values_of_excerpts([excerpt(one) for one in prompts], surprise)


def values_of_excerpts(read: Sequence[Sequence[int]], surprise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what `values` does of prompts that are excerpts already."""
    lengths = np.fromiter(map(len, read), np.int64, len(read))
    result = np.full((len(read), len(NAMES)), np.nan)
    some = lengths > 0
    if not some.any():
        return result
    hashed = _hashed(list(chain.from_iterable(read)))
    bins = hashed >> (32 - _BITS)
    starts = (np.cumsum(lengths) - lengths)[some]
    bits = surprise[bins]
    result[some, 0] = np.add.reduceat(bits, starts) / lengths[some]
    distinct = np.fromiter(map(len, map(set, read)), np.int64, len(read))
    result[some, 1] = 1 - distinct[some] / lengths[some]
    signs = np.array([[1 << one] for one in range(_PROJECTIONS)], np.uint32)
    signed = np.where(hashed & signs, bits, -bits)
    result[some, 2:] = (np.add.reduceat(signed, starts, axis=1) / np.sqrt(lengths[some])).T
    return result


def _hashed(ids: Sequence[int]) -> NDArray[Any]:
    """Return 32-bit hashes (Knuth's multiplicative hash, folded so that its low bits depend on all of the id's)."""
    mixed = check(ids).astype(np.uint32) * np.uint32(2654435761)
    return np.asarray((mixed ^ mixed >> np.uint32(15)) * np.uint32(2246822519))
