"""When a running engine is left alone, and when it is ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from edgehone.core.errors import JobError
from edgehone.serve import watch as watching


class Engine:
    """An engine as `watch` sees it. While it computes, each look finds that it took more processor time."""

    def __init__(self, *, computes: float, answers_after: float | None, stopped: bool = False) -> None:
        self.ended: asyncio.Task[str] = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
        self.last_sign = asyncio.get_running_loop().time()
        self.stopped = stopped
        self._computes, self._answers_after, self._begun = computes, answers_after, self.last_sign
        self.asked = 0

    @property
    def computed(self) -> float:
        return self._computes * (asyncio.get_running_loop().time() - self._begun)

    def beat(self) -> Coroutine[Any, Any, None]:
        self.asked += 1
        return self._answer()

    async def _answer(self) -> None:
        if self._answers_after is None:
            await asyncio.Event().wait()
        await asyncio.sleep(self._answers_after or 0.0)
        self.last_sign = asyncio.get_running_loop().time()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second of the watch be 10 ms."""
    for name in ("LOOK_SECONDS", "QUIET_SECONDS", "SILENT_SECONDS", "STOPPED_SECONDS"):
        monkeypatch.setattr(watching, name, getattr(watching, name) / 100)


def watched(seconds: float, **engine: Any) -> tuple[str | None, list[str | None], int]:
    """Watch an engine for so many seconds. Return why it was ended (None: it was not), what was told, and the beats."""

    async def run() -> tuple[str | None, list[str | None], int]:
        one, told = Engine(**engine), list[str | None]()
        try:
            async with asyncio.timeout(seconds):
                await watching.watch(one, one.beat, told.append)
        except TimeoutError:
            return None, told, one.asked
        except JobError as error:
            return error.message, told, one.asked
        finally:
            one.ended.cancel()

    return asyncio.run(run())


def test_an_engine_that_answers_is_left_alone() -> None:
    ended, told, asked = watched(0.5, computes=0.0, answers_after=0.01)
    assert ended is None and told == [] and asked >= 3


def test_an_engine_that_computes_for_long_is_left_alone() -> None:
    assert watched(1.0, computes=1.0, answers_after=None) == (None, [], 1)


def test_an_engine_that_neither_answers_nor_computes_is_ended() -> None:
    ended, _, asked = watched(2.0, computes=0.05, answers_after=None)
    assert ended is not None and "did not compute" in ended and asked == 1


def test_a_stopped_engine_is_told_and_ended() -> None:
    ended, told, asked = watched(2.0, computes=0.0, answers_after=0.0, stopped=True)
    assert ended is not None and "stopped by a signal" in ended
    assert told == ["the engine is stopped by a signal"] and asked == 0
