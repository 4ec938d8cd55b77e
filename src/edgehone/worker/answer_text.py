"""The text of the answers of an engine, decoded where their ids arrive (worker side).

A model that gives a token in less than a millisecond is slowed down by everything that is done for each token. So the
tokens of an answer that come within some milliseconds are decoded and told together, after the first, which is told at
once, as is the end. Each piece wakes the server and the client. So with many answers there are fewer pieces of each,
and those of all answers are told at the same times.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgehone.backends.serving import Produced
from edgehone.worker.text_stream import TextStream

if TYPE_CHECKING:
    from edgehone.worker.stable_text import StableText

# The least number of seconds between two pieces of an answer: still 33 a second.
INTERVAL = 0.03
# All answers together have about so many pieces a second at most, each of which costs the processors of the model some
# 0.2 ms; but each answer has one after so many seconds, with which text still flows.
_PIECES_A_SECOND, _LONGEST_INTERVAL = 200, 0.065


@dataclass(frozen=True)
class Piece:
    """What is told of an answer: text that is certain, of so many tokens, and with the last piece why it ended.

    `ids` are told instead of the text if a request has no text. `logprobs` are in the form of the OpenAI API.
    """

    number: int
    text: str = ""
    tokens: int = 0
    reason: str | None = None
    logprobs: Sequence[dict[str, Any]] = ()
    ids: Sequence[int] = ()
    error: str | None = None

    def told(self) -> list[Any]:
        """Return it as a message has it."""
        return [self.text, self.tokens, self.reason, self.logprobs, self.number, self.ids, self.error]


class AnswerText:
    """The text of an answer up to the first of its stop strings."""

    def __init__(
        self, text: StableText | None, stops: Sequence[str], bytes_of: Callable[[int], bytes]
    ) -> None:
        """Without `text`, which decodes, the engine tells the text of the ids itself."""
        self._text, self._stops = text, [stop for stop in stops if stop]
        self._stream = TextStream(self._stops, bytes_of)

    def add(self, produced: Sequence[Produced]) -> Piece:
        """Add what was produced. Tokens after the one that completes a stop string do not count."""
        text, tokens, stopped, logprobs, last = "", 0, False, list[dict[str, Any]](), produced[-1]
        for one in self._steps(produced):
            more, stopped = self._stream.add(self._decoded(one), last=one.reason is not None)
            text, tokens = text + more, tokens + len(one.ids)
            logprobs += self._stream.logprobs(one.logprobs, more)
            if stopped:
                break
        reason = "stop" if stopped else last.reason
        return Piece(last.number, text, tokens, reason, logprobs)

    def _steps(self, produced: Sequence[Produced]) -> Iterable[Produced]:
        """Return what is added in turn: all together, or each token if a stop string is to be found in it."""
        if not self._stops:
            return [joined(produced)]
        return (part for one in produced for part in _tokens(one))

    def _decoded(self, produced: Produced) -> str:
        if self._text is None:
            return "".join(produced.texts)
        more = self._text.add_all(produced.ids)
        return more + self._text.finish() if produced.reason is not None else more


@dataclass
class _Open:
    text: AnswerText | None
    waiting: list[Produced] = field(default_factory=list)
    told: float | None = None  # when a piece of it was told


class Answers:
    """The requests that are being answered."""

    def __init__(self, text_of: Callable[[Sequence[str]], AnswerText], *, paced: bool = False) -> None:
        """`text_of` begins a text that ends before one of some stop strings.

        `paced`: the engine itself looks for tokens at intervals (`llamacpp`). They are longer than half of `INTERVAL`,
        so that no token waits twice.
        """
        self._text_of, self._paced = text_of, paced
        self._open: dict[int, _Open] = {}

    def open(self, number: int, stops: Sequence[str] | None) -> None:
        """Begin an answer; without `stops` its ids are told, not its text."""
        self._open[number] = _Open(None if stops is None else self._text_of(stops))

    def forget(self, number: int) -> None:
        """Tell nothing more of an answer."""
        self._open.pop(number, None)

    def pieces(self, produced: Iterable[Produced]) -> list[Piece]:
        """Return what is to be told now, after a step of the engine."""
        now, found, due = time.monotonic(), [], list[int]()
        for one in produced:
            if answer := self._open.get(one.number):
                answer.waiting.append(one)
                if one.reason is not None or answer.told is None or now >= self._next(answer.told):
                    due.append(one.number)
        for number in dict.fromkeys(due):
            answer = self._open[number]
            piece = _piece(answer)
            answer.waiting, answer.told = [], now
            if piece.reason is not None:
                del self._open[number]
            found.append(piece)
        return found

    def _next(self, told: float) -> float:
        return told + INTERVAL / 2 if self._paced else next_piece(told, len(self._open))


def next_piece(told: float, answers: int) -> float:
    """Return when an answer of which a piece was told is told again, at the earliest, while there are so many answers.

    The times are multiples of an interval, the same for all answers; the first is 0.75 to 1.75 intervals away.
    """
    interval = max(INTERVAL, min(_LONGEST_INTERVAL, answers / _PIECES_A_SECOND))
    return (math.floor(told / interval + 0.75) + 1) * interval


def joined(produced: Sequence[Produced]) -> Produced:
    """Return what was produced one after another as one."""
    if len(produced) == 1:
        return produced[0]
    ids = [token for one in produced for token in one.ids]
    logprobs = [entry for one in produced for entry in one.logprobs]
    texts = [text for one in produced for text in one.texts]
    last = produced[-1]
    return Produced(last.number, ids, last.reason, last.error, logprobs, texts)


def _piece(answer: _Open) -> Piece:
    last = answer.waiting[-1]
    if last.error is not None:
        return Piece(last.number, reason=last.reason, error=last.error)
    if answer.text is not None:
        return answer.text.add(answer.waiting)
    one = joined(answer.waiting)
    return Piece(one.number, tokens=len(one.ids), ids=list(one.ids), reason=one.reason)


def _tokens(produced: Produced) -> Iterable[Produced]:
    """Yield each token as if it had been produced alone. The last one has the reason, and all of `logprobs` without
    an entry for each token."""
    count = len(produced.ids)
    if count < 2:
        yield produced
        return
    each = len(produced.logprobs) == count
    for at, token in enumerate(produced.ids):
        last = at == count - 1
        logprobs = produced.logprobs[at : at + 1] if each else produced.logprobs if last else ()
        reason, texts = produced.reason if last else None, produced.texts[at : at + 1]
        yield produced._replace(ids=[token], logprobs=logprobs, reason=reason, texts=texts)
