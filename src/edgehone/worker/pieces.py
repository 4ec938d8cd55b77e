"""A generation in short pieces, each with the delay that other processes caused in it (worker side).

A request that takes longer than a burst of another program is hardly ever undisturbed, but most of its tokens are. So a
generation is cut into its prefill and pieces of one or more tokens, and the scheduler's run delay is read between them.

With drafts the tokens of one pass appear together, and how many depends on the text. Pieces of single passes would then
differ in luck, and the quickest would not stand for the others (`evaluation.undisturbed`). Such a generation is cut at
fixed tokens, so that each piece has the same text in every request of the round.
"""

from __future__ import annotations

import time
from collections.abc import Container
from typing import TYPE_CHECKING, Any

from edgehone.worker.clock import MONOTONIC
from edgehone.worker.run_delay import RunDelay

if TYPE_CHECKING:
    from edgehone.backends.sessions import Clock, Generation

# A piece lasts at least this many seconds: bursts of other programs are longer, and the scheduler's own slices are a
# few ms.
PIECE_SECONDS = 0.002
# And at least so many times what reading the delay takes, which then adds at most 0.5 % to the request.
READINGS = 200
# The most pieces of a generation with drafts.
MOST_EQUAL = 32


def equal_ends(count: int) -> frozenset[int]:
    """Return the tokens after which equal pieces of `count` tokens end; the first token is the prefill's."""
    return frozenset(1 + (count - 1) * piece // MOST_EQUAL for piece in range(1, MOST_EQUAL + 1)) - {1}


class Pieces:
    """Cuts one generation after another: `begin`, then `on_token` for each token, then `of`."""

    def __init__(self, clock: Clock, cuts: Container[int] | None = None) -> None:
        """`clock` is the session's. A clock of computed times is not disturbed by anything: no delay is read.

        With `cuts` the pieces end after so many tokens, else after some time.
        """
        self._cuts = cuts
        self._delay = RunDelay() if clock is MONOTONIC else None
        self._shortest = PIECE_SECONDS
        self._marks: list[tuple[int, float]] = []  # tokens so far, and the delay until then
        self._tokens, self._last = 0, 0.0

    def begin(self) -> None:
        """Start a generation."""
        self._marks, self._tokens = [], 0
        if self._delay:
            self._delay.refresh()
            started = time.perf_counter()
            self._marks.append((0, self._delay.seconds()))
            self._last = time.perf_counter()
            self._shortest = max(PIECE_SECONDS, READINGS * (self._last - started))

    def on_token(self, _token: int) -> bool:
        """Count a token, and end the piece if it is the first token or the piece is long enough."""
        self._tokens += 1
        if self._delay and (self._tokens == 1 or self._ends()):
            self._marks.append((self._tokens, self._delay.seconds()))
            self._last = time.perf_counter()
        return False

    def _ends(self) -> bool:
        if self._cuts is not None:
            return self._tokens in self._cuts
        return time.perf_counter() - self._last >= self._shortest

    def of(self, generation: Generation) -> dict[str, Any]:
        """Return `pieces`: [tokens, seconds, seconds of delay] for the prefill, which has one token, and each piece.

        The delay is None where the system does not tell it. `aligned` is True if the pieces are cut at fixed tokens,
        so that a piece stands only for those at its place in other requests. Without a generation that reports its
        tokens there is nothing to cut, and the result is empty.
        """
        times = generation.times
        if self._delay is None or self._tokens != len(times):
            return {}
        if self._marks[-1][0] < len(times):
            self._marks.append((len(times), self._delay.seconds()))
        known = self._delay.known
        ends = [generation.started, *times]
        return {
            **({"aligned": True} if self._cuts is not None else {}),
            "pieces": [
                [after - before, ends[after] - ends[before], delay - earlier if known else None]
                for (before, earlier), (after, delay) in zip(self._marks, self._marks[1:], strict=False)
            ],
        }
