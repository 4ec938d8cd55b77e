"""Prove that an engine serves what was tested: it must answer the bundle's canaries as the proven artifact did."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

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


async def prove(link: Link, canaries: Sequence[Canary]) -> Proof:
    """Ask the engine for the canaries. Raises JobError if it does not answer.

    After a token that differs the rest is asked for again, after the proven beginning with the proven token, so that
    one different token does not count as many.
    """
    answers = await asyncio.gather(*(_answer(link, one, len(one.answer)) for one in canaries))
    equal = 0
    for canary, answer in zip(canaries, answers, strict=True):
        equal += await _equal_tokens(link, canary, answer)
    return Proof(equal, sum(len(one.answer) for one in canaries))


async def _equal_tokens(link: Link, canary: Canary, answer: Sequence[int]) -> int:
    """Return how many tokens the engine gives after the proven ones before them; `answer` is its whole answer."""
    equal = at = 0
    while True:
        rest = canary.answer[at:]
        pairs = enumerate(zip(answer, rest, strict=False))
        same = next((number for number, (one, proven) in pairs if one != proven), min(len(answer), len(rest)))
        equal, at = equal + same, at + same + 1  # the token after them differs
        if at >= len(canary.answer):
            return equal
        begun = replace(canary, prompt=(*canary.prompt, *canary.answer[:at]))
        answer = await _answer(link, begun, len(canary.answer) - at)


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
