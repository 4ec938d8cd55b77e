"""Speed compared by pairs of rounds: what slows both of a pair cancels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.core.figure import Figure
from edgehone.decision import pairs
from edgehone.decision.decision import Candidate
from edgehone.evaluation.statistics import rounds_interval


def timed(key: str, latencies: Sequence[float], at: Sequence[float] | None = None) -> Candidate:
    """A candidate with rounds "0", "1", … a minute apart."""
    moments = at or [60.0 * (1 + number) for number in range(len(latencies))]
    rounds = {
        str(number): [moment, latency, 1000 / latency]
        for number, (moment, latency) in enumerate(zip(moments, latencies, strict=True))
    }
    return holding(key, rounds, latencies)


def holding(key: str, rounds: Any, latencies: Sequence[float] = (100.0, 101.0)) -> Candidate:
    figure = rounds_interval([[latency] for latency in latencies]).figure("ms")
    return Candidate(key, key, {}, figures={"workload_latency_ms": figure}, facts={pairs.ROUNDS: rounds})


@given(some.lists(some.floats(0.5, 20), min_size=2, max_size=8), some.floats(1.1, 10))
def test_what_slows_a_whole_round_cancels(slowness: list[float], ratio: float) -> None:
    original = timed("original", [100 * ratio * slow for slow in slowness])
    fast = timed("fast", [100 * slow for slow in slowness])
    found = pairs.speedup(fast, original)
    assert found.value == pytest.approx(ratio)
    assert found.low == pytest.approx(ratio) and found.high == pytest.approx(ratio)
    assert (found.n, found.unit) == (len(slowness), "×")
    for objective in ("speed", "throughput"):
        ahead = pairs.ahead(fast, original, objective)
        assert ahead is not None
        assert ahead == pytest.approx((math.log(ratio), 0.0), abs=1e-9)


def test_what_slows_only_one_of_a_pair_is_in_the_interval() -> None:
    original = timed("original", [200.0, 200.0, 200.0, 200.0])
    fast = timed("fast", [100.0, 100.0, 150.0, 100.0])
    found = pairs.speedup(fast, original)
    assert found.low is not None and found.high is not None
    assert found.low < 1.6 and found.high > 2.0


@given(some.lists(some.tuples(some.floats(1, 1e3), some.floats(1, 1e3)), min_size=2, max_size=6))
def test_each_is_ahead_of_the_other_by_the_opposite(rows: list[tuple[float, float]]) -> None:
    one, other = timed("one", [row[0] for row in rows]), timed("other", [row[1] for row in rows])
    there, back = pairs.ahead(one, other, "speed"), pairs.ahead(other, one, "speed")
    assert there is not None and back is not None
    assert there == pytest.approx((-back[0], back[1]), abs=1e-9)


def test_rounds_far_apart_in_time_are_not_paired() -> None:
    late = 60.0 + pairs.APART_SECONDS + 1
    one = timed("one", [100.0, 100.0], at=[60.0, 120.0])
    assert pairs.ahead(one, timed("other", [50.0, 50.0], at=[late, late + 60]), "speed") is None
    near = timed("other", [50.0, 50.0], at=[late - 2, late - 1])
    assert pairs.ahead(one, near, "speed") == pytest.approx((math.log(0.5), 0.0))


def test_rounds_of_different_names_are_not_paired() -> None:
    one, other = timed("one", [100.0] * 4), timed("other", [100.0] * 4)
    renamed = {f"+tuned {name}": row for name, row in other.facts[pairs.ROUNDS].items()}
    assert pairs.ahead(one, holding("other", renamed), "speed") is None


def test_without_two_pairs_the_figures_are_compared_as_independent() -> None:
    one, other = timed("one", [100.0, 104.0]), timed("other", [200.0, 210.0])
    lone = holding("one", {"0": one.facts[pairs.ROUNDS]["0"]}, [100.0, 104.0])
    assert pairs.ahead(lone, other, "speed") is None
    found, paired = pairs.speedup(lone, other), pairs.speedup(one, other)
    assert found.value == pytest.approx(paired.value)
    assert None not in (found.low, found.high, paired.low, paired.high)
    assert (found.high or 0) - (found.low or 0) > (paired.high or 0) - (paired.low or 0)


GOOD = [60.0, 100.0, 10.0]


@pytest.mark.parametrize(
    "entry",
    [
        None, "abc", 5.0, [], [60.0, 100.0], [*GOOD, 1.0], {"at": 60.0}, [60.0, "100", 10.0], [60.0, None, 10.0],
        [60.0, 0.0, 10.0], [60.0, -100.0, 10.0], [60.0, math.nan, 10.0], [60.0, math.inf, 10.0],
    ],
)  # fmt: skip
def test_malformed_facts_are_ignored(entry: Any) -> None:
    """Facts of a decision.json that was edited or damaged."""
    other = timed("other", [200.0, 200.0, 200.0])
    broken = holding("one", {"0": GOOD, "1": entry, "2": [180.0, 100.0, 10.0]})
    assert pairs.ahead(broken, other, "speed") == pytest.approx((math.log(2), 0.0))


@pytest.mark.parametrize("facts", [None, [], "rounds", 7, {}])
def test_rounds_that_are_no_mapping_are_none(facts: Any) -> None:
    assert pairs.ahead(holding("one", facts), timed("other", [1.0, 2.0]), "speed") is None


def predicted(one: Candidate, figures: Mapping[str, Figure]) -> Candidate:
    return Candidate(one.key, one.backend, {}, figures=figures, facts=one.facts)


def test_a_prediction_ignores_the_rounds_made_here() -> None:
    one, other = timed("one", [100.0, 100.0]), timed("other", [200.0, 200.0])
    there = predicted(one, {"workload_latency_ms": Figure.prediction(30.0, 1.5, "ms")})
    assert pairs.ahead(there, other, "speed") is None
    told = Figure.prediction(9.0, 1.2, "×")
    assert pairs.speedup(predicted(one, {**there.figures, "speedup": told}), other) == told
    unknown = predicted(one, {"workload_latency_ms": Figure.missing("not measured", "ms")})
    assert pairs.ahead(unknown, other, "speed") is None
    assert pairs.speedup(unknown, other).value is None


def test_the_interval_of_speedup_includes_how_far_the_ratio_drifts_between_runs() -> None:
    original, fast = timed("original", [200.0, 202.0, 201.0]), timed("fast", [100.0, 100.0, 101.0])
    drifting = replace(fast, facts={**fast.facts, pairs.DRIFT: 0.2})
    plain, wide = pairs.speedup(fast, original), pairs.speedup(drifting, original)
    assert wide.value == plain.value
    assert plain.value and plain.low and wide.value and wide.low
    assert math.log(wide.value / wide.low) == pytest.approx(
        math.hypot(0.2, math.log(plain.value / plain.low))
    )
    assert pairs.ahead(drifting, original, "speed") == pairs.ahead(fast, original, "speed")


@pytest.mark.parametrize("drift", [None, "0.2", -0.1, math.inf, math.nan, []])
def test_a_malformed_drift_is_ignored(drift: Any) -> None:
    original, fast = timed("original", [200.0, 202.0]), timed("fast", [100.0, 100.0])
    damaged = replace(fast, facts={**fast.facts, pairs.DRIFT: drift})
    assert pairs.speedup(damaged, original) == pairs.speedup(fast, original)
