"""Before and after: right verdicts, few wrong ones however often one looks, clear errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgehone.core.errors import InputError
from edgehone.drift.effect import Effect, LatencyEffect, MeanInterval


def _verdicts(before: float, after: float, margin: float, runs: int, count: int) -> list[str]:
    """Return the first verdicts of runs that look after each value and stop at a verdict."""
    found: list[str] = []
    for seed in range(runs):
        random = np.random.default_rng(seed)
        effect = Effect(margin)
        for value in random.random(400) < before:
            effect.before(value)
        for value in random.random(count) < after:
            effect.after(value)
            if effect.verdict != "not enough data":
                break
        found.append(effect.verdict)
    return found


def test_failures_that_stop_have_been_helped() -> None:
    assert _verdicts(0.3, 0.01, 0.05, 10, 300) == ["helped"] * 10


def test_failures_that_go_on_or_grow_have_not() -> None:
    assert _verdicts(0.3, 0.3, 0.15, 10, 1500) == ["did not help"] * 10
    assert _verdicts(0.1, 0.4, 0.05, 10, 300) == ["did not help"] * 10


def test_a_useless_change_is_rarely_said_to_have_helped() -> None:
    assert _verdicts(0.2, 0.2, 0.05, 40, 400).count("helped") <= 4


def test_few_values_are_not_enough() -> None:
    effect = Effect(0.05)
    effect.before(1)
    effect.after(0)
    assert effect.verdict == "not enough data"
    assert str(effect).startswith("not enough data: better by -")


def test_the_interval_holds_the_mean_at_all_times() -> None:
    misses = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        interval = MeanInterval(0.1)
        for value in random.beta(1, 9, 300):
            interval.add(float(value))
        misses += not interval.low <= 0.1 <= interval.high  # it never becomes wider: a miss at any time stays
    assert misses <= 12
    assert interval.high - interval.low < 0.1


def test_an_interval_at_the_edge_of_the_range_stays_inside() -> None:
    for value in (0.0, 1.0):
        interval = MeanInterval(0.05)
        for _ in range(2000):
            interval.add(value)
        assert interval.low - 0.011 <= value <= interval.high + 0.011
        assert 0 <= interval.low <= interval.high <= 1


def test_latencies_are_judged_by_the_share_above_the_limit() -> None:
    random = np.random.default_rng(0)
    effect = LatencyEffect(1.0)
    for seconds in random.pareto(1.0, 200) + 0.8:  # no mean
        effect.before(float(seconds))
    for seconds in random.pareto(1.0, 200) * 0.05 + 0.1:
        effect.after(float(seconds))
    assert effect.verdict == "helped"
    assert str(effect).startswith("share of requests above 1 s: helped: better by 0.")
    assert "(200 values before, 200 after)" in str(effect)


def test_dependent_values_are_averaged_in_batches() -> None:
    effect = Effect(0.1, batch=10)
    for _ in range(95):
        effect.before(1)
    assert str(effect).endswith("(90 values before, 0 after)")


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_value_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"is not in \[0, 1\]"):
        Effect(0.05).before(value)


@pytest.mark.parametrize("seconds", [-1.0, math.nan])
def test_a_time_out_of_range_is_refused(seconds: float) -> None:
    with pytest.raises(InputError, match="not a number of seconds"):
        LatencyEffect(1.0).after(seconds)


@pytest.mark.parametrize("limit", [0.0, math.inf, math.nan])
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(InputError, match="the limit is"):
        LatencyEffect(limit)


def test_a_margin_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="margin 0"):
        Effect(0)
