"""Prove that an engine serves what was tested: it must answer the bundle's canaries as the proven artifact did."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgehone.core.errors import JobError
from edgehone.serve.link import Link
from edgehone.serve.served import Canary

# The share of the proven answers' tokens that the engine must give again. An engine may compute attention by another
# kernel than the one that was scored, which can turn a tie between two tokens: one token of 48 may differ.
LEAST = 0.97
SECONDS = 120.0


@dataclass(frozen=True)
class Proof:
    """How many of the tokens of the proven answers the engine gave again, of how many."""

    equal: int
    tokens: int

    @property
    def holds(self) -> bool:
        """Whether the engine serves the tested artifact."""
        return self.equal >= LEAST * self.tokens

    @property
    def exact(self) -> bool:
        """Whether all tokens are equal."""
        return self.equal == self.tokens

    def __str__(self) -> str:
        """Return it in words."""
        if self.exact:
            return f"all {self.tokens} tokens of the canaries are equal"
        different = self.tokens - self.equal
        return f"{different} of the {self.tokens} tokens of the canaries {'differs' if different == 1 else 'differ'}"


@dataclass(frozen=True)
class Question:
    """Which canary an engine is asked to continue, by its place, and after how many tokens of its proven answer."""

    canary: int
    after: int


def comparing(proven: Sequence[Sequence[int]]) -> Generator[list[Question], list[Sequence[int]], Proof]:
    """Compare an engine's answers with the proven ones; returns the proof.

    Yields questions that can be asked together, and is sent their answers: at first all canaries. After a token that
    differs the rest is asked for again, after the proven beginning with the proven token, so that one different token
    does not count as many.
    """
    equal, asked = 0, [Question(at, 0) for at in range(len(proven))]
    while asked:
        answers = yield asked
        again = []
        for one, answer in zip(asked, answers, strict=True):
            rest = proven[one.canary][one.after :]
            pairs = enumerate(zip(answer, rest, strict=False))
            same = next((at for at, (token, right) in pairs if token != right), min(len(answer), len(rest)))
            equal += same
            if same + 1 < len(rest):  # the token after them differs
                again.append(Question(one.canary, one.after + same + 1))
        asked = again
    return Proof(equal, sum(map(len, proven)))


async def prove(link: Link, canaries: Sequence[Canary]) -> Proof:
    """Ask the engine for the canaries. Raises JobError if it does not answer."""
    comparison = comparing([one.answer for one in canaries])
    asked = next(comparison)
    while True:
        answers = await asyncio.gather(*(_answered(link, canaries[one.canary], one.after) for one in asked))
        try:
            asked = comparison.send(answers)
        except StopIteration as done:
            found: Proof = done.value
            return found


def _answered(link: Link, canary: Canary, after: int) -> Coroutine[Any, Any, Sequence[int]]:
    begun = replace(canary, prompt=(*canary.prompt, *canary.answer[:after]))
    return _answer(link, begun, len(canary.answer) - after)


async def _answer(link: Link, canary: Canary, count: int, seconds: float | None = SECONDS) -> tuple[int, ...]:
    number, queue = link.submit(canary.prompt, canary.picture, count, [], {}, None)
    ids: list[int] = []
    finished = False
    try:
        async with asyncio.timeout(seconds):
            while not finished:
                piece = await queue.get()
                ids += piece.ids
                finished = piece.reason is not None
                if piece.reason in ("error", "refused"):
                    raise JobError(piece.error or "the engine failed")
    except TimeoutError:
        raise JobError(f"the engine did not answer a canary within {seconds:.0f} s") from None
    finally:
        link.release(number, finished=finished)
    return tuple(ids)


async def beat(link: Link, canary: Canary, *, exact: bool) -> None:
    """Ask for the first token of a canary, whenever it comes. Raises JobError if the engine fails.

    With `exact`, for an engine whose proof was exact, also if it is another token.
    """
    answer = await _answer(link, canary, 1, None)
    if exact and answer != canary.answer[:1]:
        raise JobError(f"the engine answered a canary with {list(answer)}, not {list(canary.answer[:1])}")
