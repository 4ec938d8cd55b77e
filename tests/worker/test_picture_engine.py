"""The engine over the session of a vision-language model: its requests in order, ends, cancellation and errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from edgehone.backends.serving import EngineRequest, Produced, PromptPicture
from edgehone.backends.sessions import Generation
from edgehone.core.errors import EdgehoneError
from edgehone.worker import picture_engine
from edgehone.worker.picture_engine import PictureEngine


class Counting:
    """A session that counts upwards from the last id of the prompt; before a token it waits for `step`."""

    def __init__(self) -> None:
        self.step = threading.Semaphore(0)
        self.shown: list[tuple[Any, Sequence[int], Sequence[int]]] = []
        self.made = 0
        self.closed = False

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        if ids[-1] == 99:
            raise EdgehoneError("99 is not continued")
        if ids[-1] == 98:
            raise ValueError("98")
        for more in range(count):
            assert self.step.acquire(timeout=10)
            self.made += 1
            assert on_token is not None
            if on_token(ids[-1] + more + 1):
                break
        return Generation(0, [], [])

    def describe(
        self, picture: Any, before: Sequence[int], after: Sequence[int], count: int, on_token: Any = None
    ) -> Generation:
        self.shown.append((picture, list(before), list(after)))
        return self.generate(after, count, on_token)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Counting:
    monkeypatch.setattr(picture_engine, "decode", lambda data: f"decoded {data}")
    return Counting()


def until(engine: PictureEngine, number: int) -> list[Produced]:
    """Step until a request has ended."""
    found: list[Produced] = []
    while not any(one.number == number and one.reason for one in found):
        found += engine.step()
    return found


def test_requests_are_answered_in_their_order(session: Counting) -> None:
    engine = PictureEngine(session)  # type: ignore[arg-type]
    session.step.release(6)
    engine.add(EngineRequest(1, [1, 2, 3], 3, picture=PromptPicture(1, "data")))
    engine.add(EngineRequest(2, [5], 9, frozenset([8])))
    found = until(engine, 2)
    assert session.shown == [("decoded data", [1], [2, 3])]
    told = [(one.number, list(one.ids), one.reason) for one in found]
    assert told[:3] == [(1, [4], None), (1, [5], None), (1, [6], "length")]
    assert told[3:] == [(2, [6], None), (2, [7], None), (2, [], "stop")]
    engine.close()
    assert session.closed


def test_a_cancelled_request_ends_with_its_next_token(session: Counting) -> None:
    engine = PictureEngine(session)  # type: ignore[arg-type]
    engine.add(EngineRequest(1, [1], 50))
    engine.add(EngineRequest(2, [1], 50))
    engine.add(EngineRequest(3, [1], 1))
    session.step.release(1)
    assert [one.ids for one in _some(engine)] == [[2]]
    engine.cancel(1)
    engine.cancel(2)
    session.step.release(2)
    assert [one.number for one in until(engine, 3)] == [3]
    assert session.made == 3 and not engine.busy
    engine.close()


def _some(engine: PictureEngine) -> list[Produced]:
    found: list[Produced] = []
    while not found:
        found = engine.step()
    return found


@pytest.mark.parametrize(
    ("last", "reason", "said"), [(99, "refused", "99 is not"), (98, "error", "ValueError: 98")]
)
def test_an_error_ends_its_request_only(session: Counting, last: int, reason: str, said: str) -> None:
    engine = PictureEngine(session)  # type: ignore[arg-type]
    engine.add(EngineRequest(1, [last], 5))
    engine.add(EngineRequest(2, [1], 1))
    session.step.release(1)
    first, second = until(engine, 2)
    assert first.reason == reason and said in str(first.error)
    assert second.reason == "length"
    engine.close()
