"""What requests take while no other program runs on their processors, from rounds on a machine that may be busy.

The worker records with each piece of a request how long its threads waited for a processor (`worker.run_delay`). Pieces
with hardly any wait are calm: their time contains only what the candidate does itself. A framework with more threads
than processors makes its own threads wait as well, in all pieces alike, so a piece is calm if its wait exceeds that of
the calmest pieces by little.

What an undisturbed request takes is the sum, over its stretches, of a low quantile of the times of the calm pieces:
other programs and other machines of a shared host only ever add time (Chen and Revels, "Robust benchmarking in noisy
environments", arXiv:1608.04295). Measured on two cores with a language model of 7 million parameters, 8 rounds: with
bursts of other programs on 50 % of both cores it is 1 to 4 % above that of a quiet machine, where the median of the
requests is 57 to 99 % above. Without the delay (other systems than Linux) the quantile is that of all pieces.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgehone.worker.run_delay import CALM

# The quantile of the calm pieces, and of the waits that a candidate causes itself.
LOW = 0.1
# A piece is calm if its threads waited for at most this share of its time beyond what the candidate causes. While
# another program takes one of two processors, the share is 0.6 or more, and bursts are longer than pieces.
WAITED = 0.15
# More than this share is not the candidate's own.
OWN_MOST = CALM - WAITED
# If fewer pieces than this are calm, those that waited least stand for them, and the round is disturbed.
LEAST_SHARE = 0.05
LEAST_PIECES = 2
# A round whose stretches without enough calm pieces make up at most this share of a request is not disturbed: they are
# off by less than their own length.
UNSURE = 0.1
# A round in which others took less of the processors is quiet, and all waits in it are the candidate's own.
QUIET = 0.05
# Tokens take longer the longer the text is, so pieces stand only for those of the same stretch of the generated text.
STRETCHES = 8


@dataclass(frozen=True)
class Piece:
    """A part of a request: `tokens` (1 for a whole request), seconds, and the wait in them (None if unknown)."""

    tokens: int
    seconds: float
    delay: float | None

    @property
    def pace(self) -> float:
        """Seconds per token."""
        return self.seconds / self.tokens

    @property
    def waited(self) -> float:
        """The wait as a share of the seconds, summed over threads; 0 if unknown."""
        return (self.delay or 0.0) / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Timed:
    """A request in which pieces that are not calm are replaced by the mean of those that are.

    `total` and `first` are seconds in all and to the first token; `own` is the share of `total` that was calm.
    """

    total: float
    first: float | None = None
    own: float = 1.0


@dataclass(frozen=True)
class Undisturbed:
    """A round without what other programs did.

    `total` and `first` are the seconds of an undisturbed request, in all and to the first token. `requests` are those
    of the round. `share` is the share of the measured time that was calm, None if unknown. `enough` is False if hardly
    any was.
    """

    total: float
    first: float | None
    requests: tuple[Timed, ...]
    share: float | None
    enough: bool


def of_round(one: Mapping[str, Any]) -> Undisturbed:
    """Return a round without what other programs did, from its facts (see `worker.speed.time_requests`).

    Rounds of earlier versions have no delay; all of their requests count.
    """
    requests: Sequence[Mapping[str, Any]] = one["requests"]
    others = one.get("conditions", {}).get("others_share")
    if all(request.get("pieces") for request in requests):
        cut = [[Piece(*piece) for piece in request["pieces"]] for request in requests]
        aligned = all(request.get("aligned") for request in requests)
        return _of_pieces(cut, others, _places if aligned else _stretches)
    pieces = [Piece(1, request["total"], request.get("delay")) for request in requests]
    calm, enough = _calm(pieces, _limit(pieces, others))
    timed = [Timed(requests[i]["total"], requests[i].get("ttft")) for i in calm]
    first = [one.first for one in timed if one.first is not None]
    return Undisturbed(
        low_quantile([(one.total, 1) for one in timed]),
        low_quantile([(seconds, 1) for seconds in first]) if first else None,
        tuple(timed),
        _share(pieces, calm),
        enough,
    )


def low_quantile(paces: Sequence[tuple[float, int]]) -> float:
    """Return the LOW quantile of values with weights, the smallest value that reaches it. There must be one value."""
    ranked = sorted(paces)
    wanted, reached = LOW * sum(weight for _, weight in ranked), 0
    for value, weight in ranked:
        reached += weight
        if reached >= wanted:
            return value
    return ranked[-1][0]


def _limit(pieces: Sequence[Piece], others: float | None) -> float:
    """Return the largest wait of a calm piece, as a share of its time."""
    if others is not None and others < QUIET:
        return math.inf
    return min(OWN_MOST, low_quantile([(piece.waited, 1) for piece in pieces])) + WAITED


def _calm(pieces: Sequence[Piece], limit: float) -> tuple[list[int], bool]:
    """Return the positions of the calm pieces, and whether enough of them are. Without the delay all are."""
    calm = [i for i, piece in enumerate(pieces) if piece.waited <= limit]
    least = min(len(pieces), max(LEAST_PIECES, round(LEAST_SHARE * len(pieces))))
    if len(calm) >= least:
        return calm, True
    ranked = sorted(range(len(pieces)), key=lambda i: (pieces[i].waited, pieces[i].pace, pieces[i].tokens))
    return sorted(ranked[:least]), False


def _share(pieces: Sequence[Piece], calm: Iterable[int]) -> float | None:
    if any(piece.delay is None for piece in pieces):
        return None
    whole = sum(piece.seconds for piece in pieces)
    return sum(pieces[i].seconds for i in calm) / whole if whole else 1.0


def _of_pieces(
    requests: Sequence[Sequence[Piece]],
    others: float | None,
    stretches_of: Callable[[Sequence[Piece]], Iterable[int]],
) -> Undisturbed:
    every = [piece for pieces in requests for piece in pieces]
    owner = [number for number, pieces in enumerate(requests) for _ in pieces]
    stretches: dict[int, list[int]] = {}  # the positions in `every` of the pieces of each stretch
    for place, stretch in enumerate(stretch for pieces in requests for stretch in stretches_of(pieces)):
        stretches.setdefault(stretch, []).append(place)
    limit = _limit(every, others)
    whole, first, unsure = 0.0, 0.0, 0.0
    sums = [[0.0, 0.0, 0.0] for _ in requests]  # first, total, calm
    kept: list[int] = []
    for stretch, places in stretches.items():
        chosen, enough = _calm([every[i] for i in places], limit)
        calm = {places[i] for i in chosen}
        kept += calm
        tokens = sum(every[i].tokens for i in calm)
        mean = sum(every[i].seconds for i in calm) / tokens
        pace = low_quantile([(every[i].pace, every[i].tokens) for i in calm])
        part = pace * sum(every[i].tokens for i in places) / len(requests)
        whole += part
        unsure += 0.0 if enough else part
        first += pace if stretch == 0 else 0.0
        for i in places:
            seconds = every[i].seconds if i in calm else mean * every[i].tokens
            mine = sums[owner[i]]
            mine[0] += seconds if stretch == 0 else 0.0
            mine[1] += seconds
            mine[2] += seconds if i in calm else 0.0
    timed = [Timed(total, begun, own / total if total else 1.0) for begun, total, own in sums]
    return Undisturbed(whole, first, tuple(timed), _share(every, kept), unsure <= UNSURE * whole)


def _places(pieces: Sequence[Piece]) -> Iterable[int]:
    """Return the place of each piece, as its stretch: pieces of equal text, cut at the same tokens."""
    return range(len(pieces))


def _stretches(pieces: Sequence[Piece]) -> Iterable[int]:
    """Yield the stretch of each piece: 0 is the prefill, the others are equal parts of the generated text."""
    generated = sum(piece.tokens for piece in pieces)
    done = 0
    for piece in pieces:
        yield 0 if done == 0 else 1 + int(STRETCHES * (done + piece.tokens / 2) / generated)
        done += piece.tokens
