"""Generations cut into pieces: nothing is lost or counted twice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.backends.null.clock import VirtualClock
from edgehone.backends.sessions import Generation
from edgehone.evaluation.undisturbed import of_round
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


def drafted(clock: list[float], passes: Sequence[int], kept: Pieces, seconds: float) -> list[list[float]]:
    """Generate a token, then as many as each pass gives, all at the same moment."""
    kept._delay = Counted()  # type: ignore[assignment]
    kept.begin()
    started, times = clock[0], list[float]()
    for count in [1, *passes]:
        clock[0] += seconds
        for _ in range(count):
            times.append(clock[0])
            kept.on_token(7)
    result: list[list[float]] = kept.of(Generation(started, [7] * len(times), times))["pieces"]
    return result


@given(passes=some.lists(some.integers(1, 9), min_size=20, max_size=80))
def test_drafted_tokens_are_timed_by_pieces_of_equal_text(passes: list[int]) -> None:
    """A piece of one pass would have the luck of its draft, and the luckiest would stand for all."""
    count = 1 + sum(passes)
    with pytest.MonkeyPatch.context() as patch:
        now = [100.0]
        patch.setattr(time, "perf_counter", lambda: now[0])
        requests = [drafted(now, passes, Pieces(MONOTONIC, pieces.equal_ends(count)), 0.01) for _ in range(3)]
    assert [piece[0] for piece in requests[0]] == [piece[0] for piece in requests[1]]
    assert len(requests[0]) <= 1 + pieces.MOST_EQUAL and sum(piece[0] for piece in requests[0]) == count
    calm = [
        {"aligned": True, "pieces": [[*piece[:2], 0.0] for piece in one], "total": 0.0} for one in requests
    ]
    found = of_round({"requests": calm, "conditions": {"others_share": 0.0}})
    assert found.total == pytest.approx(0.01 * (1 + len(passes)))


def test_pieces_of_single_passes_would_be_too_quick(clock: list[float]) -> None:
    """What the test above guards against: one pass in eight keeps all of its drafts."""
    passes = [9, 1, 1, 1, 1, 1, 1, 1] * 8
    calm = [[*piece[:2], 0.0] for piece in drafted(clock, passes, Pieces(MONOTONIC), 0.01)]
    found = of_round({"requests": [{"pieces": calm, "total": 0.0}], "conditions": {"others_share": 0.0}})
    assert found.total < 0.5 * 0.01 * (1 + len(passes))


def test_the_equal_pieces_of_short_answers() -> None:
    assert pieces.equal_ends(1) == frozenset()
    assert pieces.equal_ends(3) == {2, 3}
    assert pieces.equal_ends(65) == set(range(3, 66, 2))


def test_pieces_that_are_cut_at_fixed_tokens_say_so(clock: list[float]) -> None:
    found = Pieces(MONOTONIC, pieces.equal_ends(2))
    found._delay = Counted()  # type: ignore[assignment]
    found.begin()
    for _ in range(2):
        clock[0] += 0.5
        found.on_token(1)
    told = found.of(Generation(100.0, [1, 1], [100.5, 101.0]))
    assert told["aligned"] is True and [piece[:2] for piece in told["pieces"]] == [[1, 0.5], [1, 0.5]]
