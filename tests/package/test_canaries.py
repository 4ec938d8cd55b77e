"""The canaries of a package are asked as `serve` asks: whole, and after a token that differs the rest once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from edgehone.package import canaries
from edgehone.serve.proof import Proof

PROVEN = [
    {"prompt": [1, 2], "answer": [3, 4, 5, 6]},
    {"prompt": [7], "answer": [8, 9]},
]


@pytest.mark.parametrize(
    ("wrong", "proof", "jobs"),
    [
        ({}, Proof(6, 6), 1),
        ({(1, 2): 0}, Proof(5, 6), 2),
        ({(1, 2, 3): 0, (7,): 0}, Proof(4, 6), 2),
        ({(7, 8): 0}, Proof(5, 6), 1),  # the last token: nothing comes after it
        ({(1, 2): 0, (1, 2, 3): 0, (1, 2, 3, 4): 0, (1, 2, 3, 4, 5): 0}, Proof(2, 6), 4),
    ],
)
def test_each_token_is_compared_after_the_proven_ones_before_it(
    wrong: dict[tuple[int, ...], int], proof: Proof, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {
        (*one["prompt"], *one["answer"][:at]): token
        for one in PROVEN
        for at, token in enumerate(one["answer"])
    }
    asked = []

    def answers(job: tuple[Sequence[Sequence[int]], int]) -> list[Sequence[int]]:
        asked.append(job)
        prompts, count = job
        found: list[Sequence[int]] = []
        for prompt in prompts:
            ids = tuple(prompt)
            for _ in range(count):
                ids += ({**right, **wrong}.get(ids, 0),)
            found.append(ids[len(prompt) :])
        return found

    monkeypatch.setattr(canaries, "_job", lambda manifest, prompts, count, answering, env: (prompts, count))
    monkeypatch.setattr(canaries, "_answers", answers)
    nothing = cast(Any, None)
    assert canaries._prove(nothing, PROVEN, nothing, nothing) == proof
    assert len(asked) == jobs
