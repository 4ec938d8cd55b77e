"""Work in threads is done although its task is cancelled before a thread is free for it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgehone.serve.drift.model_watch import DriftRules
from edgehone.serve.drift.observer import DriftObserver
from edgehone.serve.drift.store import states
from edgehone.serve.history import recorder
from edgehone.serve.history.figures import Reading
from edgehone.serve.history.recorder import Recorder
from edgehone.serve.history.store import FILE, Resolution
from edgehone.serve.threads import surely
from tests.serve.drifting import observed, served
from tests.serve.histories import reading
from tests.serve.test_kept import answered, keeper_of


async def _cancelled_while_all_threads_are_busy(
    work: Callable[[], Coroutine[Any, Any, Any]], soon: float
) -> None:
    """Begin work when the only thread is busy, cancel it after some seconds, and free the thread a moment later."""
    loop, free = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    loop.run_in_executor(None, free.wait)
    task = asyncio.create_task(work())
    await asyncio.sleep(soon)
    task.cancel()
    loop.call_later(0.1, free.set)
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("begin", "expected"), [(surely, ["done"]), (asyncio.to_thread, [])])
def test_a_function_is_done_before_its_cancelled_task_ends(begin: Any, expected: list[str]) -> None:
    """The second case shows what `asyncio.to_thread` does without it."""
    found: list[str] = []

    async def once() -> list[str]:
        await _cancelled_while_all_threads_are_busy(lambda: begin(found.append, "done"), 0.05)
        return list(found)

    assert asyncio.run(once()) == expected


def test_it_returns_and_raises_what_the_function_does() -> None:
    assert asyncio.run(surely(max, 1, 2)) == 2
    with pytest.raises(ZeroDivisionError):
        asyncio.run(surely(divmod, 1, 0))


def test_it_is_cancelled_twice_and_the_function_is_done() -> None:
    found: list[int] = []

    async def twice() -> None:
        free = threading.Event()

        def work() -> None:
            free.wait(60)
            found.append(1)

        task = asyncio.create_task(surely(work))
        for _ in range(2):
            await asyncio.sleep(0.05)
            task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
        free.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(twice())
    assert found == [1]


def test_the_last_row_of_the_history_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "FINE", Resolution(1, 60))

    async def read() -> Reading:
        return reading(asyncio.get_running_loop().time(), gauge=5.0)

    record = Recorder(tmp_path / FILE, read, print)
    asyncio.run(_cancelled_while_all_threads_are_busy(record.run, 1.3))
    record.close()
    with sqlite3.connect(tmp_path / FILE) as database:
        assert database.execute("SELECT count(*) FROM rows").fetchone() == (1,)


def test_the_state_of_drift_detection_is_the_last_one(tmp_path: Path) -> None:
    observer = DriftObserver({"m": served()}, tmp_path, DriftRules(requests=600), print)
    observer.observe(observed(ids=[1, 2, 3]))
    asyncio.run(_cancelled_while_all_threads_are_busy(lambda: observer.run(0.01), 0.2))
    assert [one["requests"] for one in states(tmp_path)] == [1]
    observer.observe(observed(ids=[1, 2, 3]))
    observer.end()
    assert [one["requests"] for one in states(tmp_path)] == [2]


def test_kept_samples_are_written(tmp_path: Path) -> None:
    keeper = keeper_of(tmp_path, [])
    keeper.observe(answered(ids=[1, 2]))
    asyncio.run(_cancelled_while_all_threads_are_busy(lambda: keeper.run(0.01), 0.2))
    assert keeper.count("m") == 1
