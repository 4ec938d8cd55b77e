"""What is told of requests, to whom, and that a watcher which fails harms nobody."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgehone.serve.infer.tensor import Tensor
from edgehone.serve.live_models import Models
from edgehone.serve.measured.callers import Callers
from edgehone.serve.observation import Feedback, Observation
from edgehone.serve.observers import Observers
from tests.serve.watching import watching_of


class Seen:
    """An observer that keeps all."""

    def __init__(self) -> None:
        self.requests: list[Observation] = []
        self.said: list[Feedback] = []

    def observe(self, seen: Observation) -> None:
        self.requests.append(seen)

    def feedback(self, seen: Feedback) -> None:
        self.said.append(seen)


class Failing:
    """An observer on a full disk."""

    def observe(self, seen: Observation) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def feedback(self, seen: Feedback) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def observers(*watching: Any, say: Any = print, every: int = 0) -> Observers:
    found = Observers(say, Callers("X-Tenant", "X-Route", 4), every)
    for one in watching:
        found.add(one)
    return found


def test_a_request_is_told_of_soon_after_its_end_with_its_caller_and_its_times() -> None:
    seen = Seen()

    async def answer() -> None:
        found = observers(seen)
        record = found.begin("bundle", "/v1/completions", [(b"x-tenant", b"alice"), (b"x-route", b"search")])
        record.id, record.ids, record.prompt_tokens = "cmpl-1", [3, 4], 2
        record.choice(0.1, 0.02, 5, 0.2)
        record.choice(0.3, 0.04, 6, 0.4)
        record.token(0.2, 0.8)
        record.token(0.4, 0.6)
        record.answered(200)
        assert not seen.requests  # not before the answer
        await asyncio.sleep(1.5)

    asyncio.run(answer())
    (one,) = seen.requests
    assert (one.model, one.tenant, one.route, one.status, one.id) == (
        "bundle",
        "alice",
        "search",
        200,
        "cmpl-1",
    )
    assert (one.prompt_tokens, one.generated_tokens, one.first_seconds) == (2, 11, 0.1)
    assert one.token_seconds == pytest.approx(0.03) and one.engine_seconds == pytest.approx(0.6)
    assert one.entropy == pytest.approx(0.3) and one.margin == pytest.approx(0.7)
    assert 0 < one.seconds < 1 and one.ids == [3, 4]


def test_a_stream_is_told_of_when_it_ends_with_the_status_that_it_would_have_got() -> None:
    seen = Seen()

    async def answer() -> None:
        found = observers(seen)
        record = found.begin("bundle", "/v1/completions", [])
        record.streams = True
        record.answered(200)
        found.flush()
        assert not seen.requests
        record.status = 504
        record.end()
        found.flush()

    asyncio.run(answer())
    assert [one.status for one in seen.requests] == [504]
    assert seen.requests[0].failed


def test_one_that_fails_is_counted_and_said_once_and_the_others_are_told() -> None:
    seen, said = Seen(), list[str]()

    async def answer() -> None:
        found = observers(Failing(), seen, say=said.append)
        for _ in range(200):
            found.begin("bundle", "/", []).answered(200)
        found.feedback(Feedback(id="1", model="bundle", verdict="good"))
        found.flush()
        assert found.errors["Failing"] == 201

    asyncio.run(answer())
    assert len(seen.requests) == 200 and len(seen.said) == 1
    assert len(said) == 1 and "No space left on device" in said[0]


def test_records_with_large_inputs_are_not_held() -> None:
    seen = Seen()

    async def answer() -> None:
        record = observers(seen).begin("graph", "/v2", [])
        record.inputs = [Tensor.of("x", np.zeros(300_000, np.float32))]
        record.answered(200)
        assert len(seen.requests) == 1

    asyncio.run(answer())


def test_more_records_than_one_turn_takes_are_all_told_in_their_order() -> None:
    seen = Seen()

    async def answer() -> None:
        found = observers(seen)
        for number in range(1000):
            record = found.begin("bundle", "/", [])
            record.id = str(number)
            record.answered(200)
        await asyncio.sleep(1.5)

    asyncio.run(answer())
    assert [one.id for one in seen.requests] == [str(number) for number in range(1000)]


def test_a_clock_that_is_set_back_changes_no_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()

    async def answer() -> None:
        found = observers(seen)
        first, second = (found.begin("bundle", "/", []) for _ in range(2))
        monkeypatch.setattr("edgehone.serve.record.time.time", lambda: 1e9)
        first.answered(200)
        monkeypatch.setattr("edgehone.serve.record.time.time", lambda: 1e9 - 86_400)
        second.answered(200)
        found.flush()

    asyncio.run(answer())
    assert [one.at for one in seen.requests] == [1e9, 1e9 - 86_400]
    assert all(0 <= one.seconds < 10 for one in seen.requests)


def test_the_confidence_of_one_in_so_many_answers_is_asked_for() -> None:
    async def asked(every: int) -> list[bool]:
        found = observers(every=every)
        return [found.begin("bundle", "/", []).sampled for _ in range(6)]

    assert asyncio.run(asked(0)) == [False] * 6
    assert asyncio.run(asked(3)) == [True, False, False, True, False, False]


def test_what_fails_in_the_background_or_at_the_end_is_counted_and_ends_nothing_else() -> None:
    said, ended = list[str](), list[str]()

    async def broken() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def failing() -> None:
        raise ValueError("not that")

    async def live() -> str:
        watching = replace(watching_of(Models(None, print)), say=said.append)
        watching.background.append(broken)
        watching.at_end.extend([failing, lambda: ended.append("all")])
        async with watching.running():
            await asyncio.sleep(0.05)
            await watching.now()
            return watching.metrics.text().decode()

    text = asyncio.run(live())
    assert 'broken"} 1.0' in text and ended == ["all"]
    assert len(said) == 2 and "No space left on device" in said[0] and "not that" in said[1]


def test_an_observer_that_takes_many_gets_all_that_wait_in_their_order() -> None:
    class Many(Seen):
        calls = 0

        def observe_all(self, seen: Any) -> None:
            self.calls += 1
            self.requests.extend(seen)

    alone, many = Seen(), Many()

    async def answer() -> None:
        found = observers(many, alone)
        for number in range(70):
            record = found.begin("bundle", "/v1/completions", [])
            record.id = str(number)
            record.answered(200)
        found.flush()

    asyncio.run(answer())
    ids = [str(number) for number in range(70)]
    assert [one.id for one in many.requests] == [one.id for one in alone.requests] == ids
    assert many.calls == 2  # 64, then the rest
