"""The proof counts each token that an engine gives after the proven ones before it, with few requests."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.serve import proof
from edgehone.serve.link import Link
from edgehone.serve.served import Canary

IDS = st.lists(st.integers(0, 2), min_size=1, max_size=12)


class Model:
    """A greedy model: the next token follows from all tokens before it. It counts what it is asked."""

    def __init__(self, seed: int) -> None:
        self.seed, self.requests = seed, 0

    def token(self, ids: tuple[int, ...]) -> int:
        return hashlib.sha256(f"{self.seed} {ids}".encode()).digest()[0] % 3

    async def answer(
        self, link: Link, canary: Canary, count: int, seconds: float | None = None
    ) -> tuple[int, ...]:
        self.requests += 1
        ids = canary.prompt
        for _ in range(count):
            ids += (self.token(ids),)
        return ids[len(canary.prompt) :]


@given(st.integers(0, 9), IDS, IDS)
def test_it_counts_as_token_by_token(seed: int, prompt: list[int], answer: list[int]) -> None:
    model, canary = Model(seed), Canary(tuple(prompt), tuple(answer), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "_answer", model.answer)
        found = asyncio.run(proof.prove(cast(Any, None), [canary]))
    steps = [model.token((*prompt, *answer[:at])) == token for at, token in enumerate(answer)]
    assert (found.equal, found.tokens) == (sum(steps), len(answer))
    # One request, and one more for each token that differs, unless it is the last.
    assert model.requests == 1 + steps[:-1].count(False)
