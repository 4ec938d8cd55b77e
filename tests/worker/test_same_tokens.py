"""Drafted tokens against plain ones: equal, different after a tie, or wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgehone.backends.sessions import Generation, WorkerJob
from edgehone.worker import same_tokens

VOCABULARY = 8


class Counting:
    """A model whose next token is the last one plus 1; after a 3 a 6 is less likely than the 4 by `gap` nats.

    With drafts it takes the 6. With `wrong` it repeats a token.
    """

    def __init__(self, gap: float, settings: Mapping[str, Any]) -> None:
        self.gap, self.settings = gap, settings

    def generate(self, ids: Sequence[int], count: int, on_token: Any = None) -> Generation:
        made, drafts = list(ids), bool(self.settings.get("prompt_lookup"))
        for _ in range(count):
            last = made[-1]
            tied = 6 if drafts and self.gap < 1 else 4
            made.append(
                tied
                if last == 3
                else (last + (0 if drafts and self.settings.get("wrong") else 1)) % VOCABULARY
            )
        times = [float(at // 2 if drafts else at) for at in range(count)]
        return Generation(0.0, made[len(ids) :], times)

    def score(self, ids: Sequence[int]) -> Iterator[Any]:
        rows = np.full((len(ids), VOCABULARY), -9.0, np.float32)
        for at, last in enumerate(ids):
            rows[at, (last + 1) % VOCABULARY] = -1.0
            if last == 3:
                rows[at, 6] = -1.0 - self.gap
        yield from np.array_split(rows, 3)

    def close(self) -> None: ...


def compared(monkeypatch: pytest.MonkeyPatch, gap: float, **settings: Any) -> dict[str, Any]:
    opened = SimpleNamespace(open_session=lambda artifact, settings, job: Counting(gap, settings))
    monkeypatch.setattr(same_tokens, "load_backend", lambda job: opened)
    args = {
        "settings": {"prompt_lookup": 3, **settings},
        "plain": {},
        "prompts": [[at, at + 1] for at in range(5)],
        "context": 70,
        "bos": [],
    }
    job = WorkerJob(args, {"artifact": Path("/none")}, Path("/none"), None, 1, lambda *told: None)
    return same_tokens.compare(job)


def test_equal_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    found = compared(monkeypatch, 2.0)
    assert found == {"compared": 256, "ties": 0, "differs": None, "tokens_per_pass": pytest.approx(63 / 31)}


def test_another_token_of_a_tie_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    found = compared(monkeypatch, same_tokens.TIE / 2)
    assert found["differs"] is None and found["ties"] == 4


@pytest.mark.parametrize("settings", [{}, {"wrong": True}])
def test_a_less_likely_token_is_told(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    found = compared(monkeypatch, 0.5, **settings)
    told = found["differs"]
    assert told["prompt"] == 1 and told["plain"] == 0.0
    assert told["short"] == pytest.approx(8.0 if settings else 0.5)
    assert told["equal"] == (0 if settings else 2)


def test_prompts_leave_room_for_the_answer_in_the_context() -> None:
    assert same_tokens._some([list(range(100))] * 8, 80) == [list(range(84, 100))] * 4
    assert same_tokens._some([[1, 2]] * 3, None) == [[1, 2]] * 3
    assert same_tokens._some([], 80) == []
