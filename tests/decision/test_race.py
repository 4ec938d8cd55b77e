"""Elimination in the race, by paired differences that common slowdowns do not change."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgehone.decision.race import Runner, advantage, beaten, leader

SPEED = {"speed": 1.0}
ALL = {"speed": 1.0, "quality": 8.0, "memory": 0.3, "size": 0.1}


def test_a_slower_one_is_beaten_though_the_machine_drifts() -> None:
    drift = [1.0, 2.0, 4.0, 8.0]
    fast = Runner("fast", {i: 10.0 * d for i, d in enumerate(drift)})
    slow = Runner("slow", {i: 12.0 * d * (1 + 0.001 * i) for i, d in enumerate(drift)})
    assert beaten(slow, fast, SPEED, looks=8)
    assert beaten(fast, slow, SPEED, looks=8) is None
    assert leader([slow, fast], SPEED) is fast


def test_too_few_pairs_eliminate_no_candidate() -> None:
    fast, slow = Runner("fast", {0: 1.0, 1: 1.0}), Runner("slow", {0: 9.0, 1: 9.1})
    found = advantage(slow, fast, SPEED, 1)
    assert found is not None
    assert found.high is None
    assert beaten(slow, fast, SPEED, 1) is None


def test_heats_that_only_one_ran_do_not_count() -> None:
    assert advantage(Runner("a", {0: 1.0}), Runner("b", {1: 1.0}), SPEED, 1) is None


def test_an_unknown_objective_eliminates_no_candidate() -> None:
    heats = {i: 1.0 + i / 100 for i in range(5)}
    known = Runner("known", heats, np.zeros(8), 1e6, 1e6)
    unknown = Runner("unknown", dict.fromkeys(range(5), 50.0), None, 1e6, 1e6)
    assert beaten(unknown, known, ALL, 8) is None


def test_quality_is_paired_on_the_windows_that_both_have() -> None:
    hard = np.linspace(-0.5, 0.0, 24)  # some windows are harder for both
    good = Runner("good", {}, hard)
    bad = Runner("bad", {}, hard[:6] - 0.01 - 0.0001 * np.arange(6))
    assert beaten(bad, good, {"quality": 8.0}, 8)


@given(
    st.lists(st.floats(1, 100), min_size=3, max_size=8),
    st.lists(st.floats(1, 100), min_size=3, max_size=8),
)
def test_an_advantage_is_the_other_ones_disadvantage(a: list[float], b: list[float]) -> None:
    one, other = Runner("a", dict(enumerate(a))), Runner("b", dict(enumerate(b)))
    there, back = advantage(one, other, SPEED, 4), advantage(other, one, SPEED, 4)
    assert there is not None
    assert back is not None
    np.testing.assert_allclose(there.value, -back.value, atol=1e-12)
    assert not (beaten(one, other, SPEED, 4) and beaten(other, one, SPEED, 4))


def test_equal_candidates_are_rarely_eliminated() -> None:
    """Over a whole race of eight looks, at most one in twenty of equals may be."""
    generator = np.random.default_rng(7)
    thrown = 0
    for _ in range(400):
        one, other = generator.lognormal(0, 0.05, 10), generator.lognormal(0, 0.05, 10)
        looks = range(3, 11)
        thrown += any(
            beaten(Runner("a", dict(enumerate(one[:n]))), Runner("b", dict(enumerate(other[:n]))), SPEED, 8)
            for n in looks
        )
    assert thrown / 400 <= 0.05
