"""The clock of a session, and requests that are timed by it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends.null import backend
from edgehone.backends.null.clock import VirtualClock
from edgehone.backends.sessions import WorkerJob
from edgehone.worker.clock import MONOTONIC, clock_of, seconds_to_open
from edgehone.worker.speed import time_requests


class Plain:
    """A session without a clock of its own."""


class Clocked:
    """A session with a clock of its own."""

    def __init__(self) -> None:
        self.clock = VirtualClock()


def test_a_session_has_the_monotonic_clock_unless_it_has_its_own() -> None:
    assert clock_of(Plain()) is MONOTONIC
    session = Clocked()
    assert clock_of(session) is session.clock


def test_the_monotonic_clock_is_that_of_the_system() -> None:
    before = time.perf_counter()
    now = MONOTONIC.now()
    MONOTONIC.sleep(0.01)
    assert before <= now <= time.perf_counter() - 0.01


def test_opening_is_timed_by_the_sessions_clock() -> None:
    started = time.perf_counter()
    assert seconds_to_open(MONOTONIC, started) < 60
    session = Clocked()
    session.clock.sleep(500)
    assert seconds_to_open(session.clock, started) == 500


@pytest.fixture
def artifact(null_model: Path, tmp_path: Path) -> Path:
    """The original of the null backend, converted."""
    out = tmp_path / "artifact"
    out.mkdir()
    backend.convert(WorkerJob({}, {"model": null_model}, out, None, 1, lambda *_: None))
    return out


def one_round(artifact: Path, seconds: float) -> dict[str, Any]:
    args: dict[str, Any] = {"backend": "edgehone.backends.null.backend", "settings": {"pace": 8}}
    args |= {"prompt": [1] * 10, "generated": 5, "cold": False, "seconds": seconds}
    return time_requests(WorkerJob(args, {"artifact": artifact}, artifact, None, 1, lambda *_: None))


def test_a_round_of_computed_times_is_exact_and_waits_for_nothing(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 1 ms per token, a request of 10 prompt tokens and 5 new ones takes 6 ms: 1000 of them are 6 s."""
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waits for {seconds} s"))
    done = one_round(artifact, seconds=5.9999)
    assert len(done["requests"]) == 1000
    assert [one["total"] for one in done["requests"]] == pytest.approx([0.006] * 1000)
    assert [one["ttft"] for one in done["requests"]] == pytest.approx([0.002] * 1000)
    assert done["load"] == pytest.approx(0.02)


def test_rounds_of_computed_times_are_equal(artifact: Path) -> None:
    first, second = one_round(artifact, 0.1), one_round(artifact, 0.1)
    for name in ("load", "first", "requests"):
        assert first[name] == second[name]
