"""A/B tests and the assignment of callers."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgehone.rollout.decision.assignment import is_challenger, position
from edgehone.rollout.decision.effect import AbTest


def run(difference: float, seed: int, count: int = 1500) -> tuple[AbTest, bool]:
    """Return a test of so many values of each version, and whether its interval held the truth at all times."""
    test, random, held = AbTest(0.1, 0.05, 100), np.random.default_rng(seed), True
    for champion, challenger in random.normal(0, 0.5, (count, 2)).tolist():
        test.add(False, champion)
        test.add(True, challenger + difference)
        found = test.effect
        held &= found.low is None or found.high is None or found.low <= difference <= found.high
    return test, held


def test_an_effect_is_shown_with_its_direction() -> None:
    better, held = run(-0.2, 1)
    assert better.shown == "better" and held
    assert run(0.2, 2)[0].shown == "worse"


def test_no_effect_is_seldom_shown_however_often_one_looks() -> None:
    found = [run(0.0, seed, 600) for seed in range(20)]
    assert sum(test.shown is not None for test, _ in found) <= 4
    assert sum(not held for _, held in found) <= 4


def test_few_requests_show_nothing() -> None:
    test = AbTest(0.1, 0.05, 100)
    for _ in range(99):
        test.add(False, 0.0)
        test.add(True, 9.0)
    assert test.shown is None and test.effect.value is None and test.effect.challenger_requests == 99


def test_equal_values_show_nothing() -> None:
    test = AbTest(0.1, 0.05, 10)
    for _ in range(50):
        test.add(False, 1.0)
        test.add(True, 1.0)
    assert test.shown is None


def test_its_state_survives_as_json() -> None:
    first, _ = run(0.1, 3, 300)
    second = AbTest(0.1, 0.05, 100)
    second.restore(json.loads(json.dumps(first.to_json())))
    for test in (first, second):
        test.add(True, 0.3)
    assert first.effect == second.effect
    fresh = AbTest(0.1, 0.05, 100)
    fresh.restore(json.loads(json.dumps(fresh.to_json())))
    assert fresh.effect.p == 1


@given(st.text(max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_who_has_the_challenger_keeps_it_at_a_larger_share(key: str, one: float, other: float) -> None:
    place = position(key, "salt")
    assert 0 <= place < 1 and place == position(key, "salt")
    small, large = sorted((one, other))
    assert not is_challenger(place, small) or is_challenger(place, large)
    assert is_challenger(place, 1.0) and not is_challenger(place, 0.0)


def test_shares_are_those_of_the_callers_and_other_rollouts_choose_others() -> None:
    users = [f"user{number}" for number in range(4000)]
    first, second = ([is_challenger(position(user, salt), 0.05) for user in users] for salt in ("a", "b"))
    assert 140 < sum(first) < 260 and 140 < sum(second) < 260
    assert sum(a and b for a, b in zip(first, second, strict=True)) < 40
