"""What requests take undisturbed: bursts of other programs do not move it."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.evaluation import undisturbed
from edgehone.evaluation.undisturbed import Undisturbed, low_quantile, of_round

TOKENS = 64
BUSY = undisturbed.QUIET + 0.4

Pieces = Sequence[Sequence[float | None]]


def request_of(pieces: Pieces) -> dict[str, Any]:
    seconds = [float(piece[1] or 0.0) for piece in pieces]
    return {"ttft": seconds[0], "total": sum(seconds), "pieces": pieces}


def round_of(requests: Sequence[Pieces], others: float | None = BUSY) -> dict[str, Any]:
    return {
        "requests": [request_of(pieces) for pieces in requests],
        "conditions": {"others_share": others},
    }


def clean(
    count: int = 30, prefill: float = 0.02, token: float = 0.001, spread: float = 0.02, own: float = 0.0
) -> list[Pieces]:
    """Requests with a prefill and pieces of 4 tokens, that vary by `spread` and wait for `own` of their time."""
    dice = random.Random(1)
    parts = [(1, prefill), *[(4, 4 * token)] * (TOKENS // 4 - 1), (3, 3 * token)]
    requests: list[Pieces] = []
    for _ in range(count):
        times = [(tokens, seconds * (1 + spread * dice.random())) for tokens, seconds in parts]
        requests.append([[tokens, seconds, own * seconds] for tokens, seconds in times])
    return requests


def with_bursts(requests: list[Pieces], share: float, seed: int = 2, wait: float = 1.0) -> list[Pieces]:
    """Let a share of the pieces wait for another program for `wait` times what they take."""
    dice = random.Random(seed)
    disturbed: list[list[list[float | None]]] = []
    for pieces in requests:
        disturbed.append([])
        for tokens, seconds, delay in pieces:
            hit = dice.random() < share
            more = wait * float(seconds or 0.0) if hit else 0.0
            disturbed[-1].append([tokens, float(seconds or 0.0) + more, float(delay or 0.0) + more])
    return [*disturbed]


def total(found: Undisturbed) -> float:
    assert found.total > 0
    return found.total


@given(share=some.floats(0.2, 0.5), seed=some.integers(0, 1000))
def test_bursts_do_not_move_it(share: float, seed: int) -> None:
    quiet = of_round(round_of(clean()))
    requests = with_bursts(clean(), share, seed)
    busy = of_round(round_of(requests))
    assert busy.total == pytest.approx(quiet.total, rel=0.03)
    assert busy.first is not None and quiet.first is not None
    assert busy.first == pytest.approx(quiet.first, rel=0.03)
    assert busy.enough
    # The median of the requests as users saw them is off by about the share.
    seen = statistics.median(request_of(pieces)["total"] for pieces in requests)
    assert seen > quiet.total * (1 + share / 3)
    # And the requests' own variation is hardly more than in quiet.
    totals = [timed.total for timed in busy.requests]
    assert statistics.stdev(totals) < 0.03 * statistics.fmean(totals)


def test_it_is_the_low_quantile_of_calm_pieces_for_each_stretch() -> None:
    same = of_round(round_of(clean(spread=0.0)))
    assert same.total == pytest.approx(0.02 + (TOKENS - 1) * 0.001)
    assert same.first == pytest.approx(0.02)
    assert same.share == pytest.approx(1.0)


def test_later_tokens_that_take_longer_count_as_they_are() -> None:
    """The calm pieces of the start, which are quicker, must not stand for those of the end."""
    parts: Pieces = [[1, 0.01, 0.0], *[[1, 0.001 * (1 + place / TOKENS), 0.0] for place in range(TOKENS - 1)]]
    truth = sum(float(piece[1] or 0.0) for piece in parts)
    busy = of_round(round_of(with_bursts([parts] * 20, 0.4)))
    assert busy.total == pytest.approx(truth, rel=0.05)


def test_waits_that_a_framework_causes_itself_do_not_count() -> None:
    """More threads than processors: each piece waits for a share of its time, on a quiet machine too."""
    own = undisturbed.OWN_MOST / 2
    requests = clean(own=own)
    found = of_round(round_of(requests))
    assert found.enough and found.share == pytest.approx(1.0)
    busy = of_round(round_of(with_bursts(requests, 0.4)))
    assert busy.enough
    assert busy.total == pytest.approx(found.total, rel=0.03)


def test_a_machine_that_is_always_busy_leaves_not_enough() -> None:
    found = of_round(round_of(with_bursts(clean(), 1.0, wait=4.0)))
    assert not found.enough
    assert found.share is not None and found.share < 0.6
    assert total(found) > 0  # what there is still counts for something
    whole = [{"total": 0.1, "delay": 0.09} for _ in range(20)]
    assert not of_round({"requests": whole, "conditions": {"others_share": 0.95}}).enough


def test_an_unknown_delay_leaves_the_low_quantile_of_all_pieces() -> None:
    requests = [[[tokens, seconds, None] for tokens, seconds, _ in r] for r in with_bursts(clean(), 0.4)]
    found = of_round(round_of(requests, others=None))
    assert found.enough and found.share is None
    assert found.total == pytest.approx(of_round(round_of(clean())).total, rel=0.03)


def test_rounds_of_earlier_versions_have_no_delay_and_all_requests_count() -> None:
    requests = [{"ttft": 0.1, "total": 0.5 + place / 100} for place in range(11)]
    found = of_round({"requests": requests})
    assert len(found.requests) == 11 and found.enough
    assert found.share is None
    assert found.total == pytest.approx(low_quantile([(r["total"], 1) for r in requests]))
    assert found.first == pytest.approx(0.1)


def test_in_a_quiet_round_everything_counts() -> None:
    requests = with_bursts(clean(), 0.5)
    found = of_round(round_of(requests, others=undisturbed.QUIET / 2))
    assert found.enough and found.share == pytest.approx(1.0)
    assert [timed.own for timed in found.requests] == pytest.approx([1.0] * len(requests))
    assert [timed.total for timed in found.requests] == pytest.approx(
        [request_of(pieces)["total"] for pieces in requests]
    )


def test_whole_requests_that_waited_are_left_out() -> None:
    """Graphs have no pieces: a request counts whole or not."""
    calm = [{"total": 0.01, "delay": 0.0}] * 12
    hit = [{"total": 0.03, "delay": 0.02}] * 8
    found = of_round({"requests": [*calm, *hit], "conditions": {"others_share": BUSY}})
    assert found.total == pytest.approx(0.01)
    assert len(found.requests) == len(calm) and found.enough and found.first is None
    assert found.share == pytest.approx(0.12 / (0.12 + 0.24))


some_pieces = some.lists(
    some.tuples(some.integers(1, 5), some.floats(1e-4, 0.1), some.floats(0, 0.2)), min_size=1, max_size=12
)


@given(some.lists(some_pieces, min_size=1, max_size=6), some.none() | some.floats(0, 1))
def test_invariants(parts: list[list[tuple[int, float, float]]], others: float | None) -> None:
    requests: list[Pieces] = [
        [[1 if place == 0 else tokens, seconds, delay] for place, (tokens, seconds, delay) in enumerate(r)]
        for r in parts
    ]
    found = of_round(round_of(requests, others))
    paces = [float(seconds or 0.0) / int(tokens or 1) for r in requests for tokens, seconds, _ in r]
    most = max(sum(int(tokens or 0) for tokens, _, _ in r) for r in requests)
    assert 0 < found.total <= max(paces) * most * (1 + 1e-9)
    assert found.first is not None and found.first <= found.total * (1 + 1e-9)
    assert found.share is not None and 0 <= found.share <= 1 + 1e-9
    assert len(found.requests) == len(requests)
    assert all(0 <= timed.own <= 1 + 1e-9 for timed in found.requests)
    # Twice as slow is twice as long.
    slower = [
        [[tokens, 2 * (seconds or 0.0), 2 * (delay or 0.0)] for tokens, seconds, delay in r] for r in requests
    ]
    assert of_round(round_of(slower, others)).total == pytest.approx(2 * found.total)
    # The order of the requests does not matter.
    assert of_round(round_of(requests[::-1], others)).total == pytest.approx(found.total)


@given(some.lists(some.tuples(some.floats(0.001, 10), some.integers(1, 9)), min_size=1, max_size=30))
def test_the_low_quantile_is_the_smallest_value_that_reaches_it(paces: list[tuple[float, int]]) -> None:
    value, weight = low_quantile(paces), sum(weight for _, weight in paces)
    below = sum(weight for pace, weight in paces if pace < value)
    upto = sum(weight for pace, weight in paces if pace <= value)
    assert below < undisturbed.LOW * weight <= upto


@pytest.mark.parametrize(("prefill", "enough"), [(0.002, True), (0.2, False)])
def test_a_prefill_that_is_always_disturbed_matters_by_its_share(prefill: float, enough: bool) -> None:
    """It lasts longer than the gaps between the bursts, or it is a small part of the request."""
    requests = [[[1, 2 * prefill, prefill], *list(pieces)[1:]] for pieces in clean(count=6, prefill=prefill)]
    assert of_round(round_of(requests)).enough is enough
