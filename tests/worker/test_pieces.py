"""Generations cut into pieces: nothing is lost or counted twice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.backends.null.clock import VirtualClock
from edgehone.backends.sessions import Generation
from edgehone.worker import pieces
from edgehone.worker.clock import MONOTONIC
from edgehone.worker.pieces import Pieces
from edgehone.worker.run_delay import RunDelay


class Counted:
    """Stands for RunDelay: another 1 ms of delay at each reading."""

    known = True

    def __init__(self) -> None:
        self.readings = 0

    def refresh(self) -> None: ...

    def seconds(self) -> float:
        self.readings += 1
        return self.readings / 1000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The moment that time.perf_counter returns."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def cut(clock: list[float], tokens: list[float], told: int | None = None) -> list[list[float]]:
    """Generate tokens of the given seconds each, of which `told` are reported as they come."""
    found = Pieces(MONOTONIC)
    counted = Counted()
    found._delay = counted  # type: ignore[assignment]
    found.begin()
    started, times = clock[0], []
    for number, seconds in enumerate(tokens):
        clock[0] += seconds
        times.append(clock[0])
        if told is None or number < told:
            assert found.on_token(7) is False  # True would end the generation
    result: list[list[float]] = found.of(Generation(started, [7] * len(tokens), times)).get("pieces", [])
    return result


@given(tokens=some.lists(some.floats(1e-4, 0.05), min_size=1, max_size=60))
def test_pieces_sum_to_the_whole_and_the_prefill_is_the_first(tokens: list[float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        now = [100.0]
        patch.setattr(time, "perf_counter", lambda: now[0])
        found = cut(now, tokens)
    assert found[0][0] == 1 and found[0][1] == pytest.approx(tokens[0])
    assert sum(piece[0] for piece in found) == len(tokens)
    assert sum(piece[1] for piece in found) == pytest.approx(sum(tokens))
    # A reading at the start and one at the end of each piece: none is left out.
    assert sum(piece[2] for piece in found) == pytest.approx(len(found) / 1000)
    assert all(piece[1] >= pieces.PIECE_SECONDS * 0.999 for piece in found[1:-1])


def test_quick_tokens_share_a_piece(clock: list[float]) -> None:
    tokens = [0.1] + [pieces.PIECE_SECONDS / 4] * 9
    assert [piece[0] for piece in cut(clock, tokens)] == [1, 4, 4, 1]


def test_a_piece_is_long_compared_with_what_a_reading_takes(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Counted()

    def seconds() -> float:
        clock[0] += 1e-3
        return 0.0

    monkeypatch.setattr(slow, "seconds", seconds)
    found = Pieces(MONOTONIC)
    found._delay = slow  # type: ignore[assignment]
    found.begin()
    assert found._shortest == pytest.approx(pieces.READINGS * 1e-3)


def test_a_generation_that_does_not_report_its_tokens_gives_nothing(clock: list[float]) -> None:
    assert cut(clock, [0.1] * 5, told=0) == []
    assert cut(clock, [0.1] * 5, told=3) == []


def test_each_generation_is_cut_by_itself(clock: list[float]) -> None:
    found = Pieces(MONOTONIC)
    found._delay = Counted()  # type: ignore[assignment]
    for _ in range(2):
        found.begin()
        started = clock[0]
        clock[0] += 0.5
        found.on_token(1)
        assert [piece[:2] for piece in found.of(Generation(started, [1], [clock[0]]))["pieces"]] == [[1, 0.5]]


def test_a_delay_that_the_system_does_not_tell_is_none(clock: list[float], tmp_path: Path) -> None:
    found = Pieces(MONOTONIC)
    found._delay = RunDelay(tmp_path)
    found.begin()
    started = clock[0]
    clock[0] += 0.5
    found.on_token(1)
    assert found.of(Generation(started, [1], [clock[0]])) == {"pieces": [[1, 0.5, None]]}


def test_computed_times_are_not_cut() -> None:
    found = Pieces(VirtualClock())
    found.begin()
    found.on_token(1)
    assert found.of(Generation(0.0, [1], [1.0])) == {}
