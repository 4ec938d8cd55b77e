"""Evidence: its bound on errors, its power, its state."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.rollout.decision.evidence import Evidence, upper_level
from edgehone.rollout.decision.rules import shipped

RULES = shipped()
ERRORS, TAIL, AGREEMENT = (RULES.names.index(one) for one in ("errors", "tail", "agreement"))


def decided(
    champion: float, challenger: float, seed: int, *, passing: bool = False, most: int = 1500
) -> int | None:
    """Return after how many requests, each beside four of the champion, the test of errors decides."""
    evidence, random = Evidence(RULES), np.random.default_rng(seed)
    needs = 20 if passing else 1 / (0.9 * RULES.objectives[ERRORS].share * RULES.alpha)
    x = np.full(len(RULES.names), np.nan)
    for number in range(1, most + 1):
        x[ERRORS] = float(random.random() < challenger) - float((random.random(4) < champion).mean())
        evidence.bet(x)
        if (evidence.not_worse if passing else evidence.worse)[ERRORS] >= needs:
            return number
    return None


def test_an_equal_challenger_is_not_shown_to_be_worse_however_often_one_looks() -> None:
    assert [decided(0.01, 0.01, seed) for seed in range(10)] == [None] * 10


def test_a_worse_one_is_soon_found() -> None:
    assert max(decided(0.01, 1.0, seed) or 99 for seed in range(10)) <= 14
    found = [decided(0.01, 0.2, seed) or 9999 for seed in range(20)]
    assert np.median(found) < 120


def test_an_equal_one_passes_and_a_worse_one_does_not() -> None:
    assert all(decided(0.01, 0.01, seed, passing=True) for seed in range(5))
    assert not any(decided(0.01, 0.04, seed, passing=True) for seed in range(5))


def test_a_change_after_thousands_of_good_requests_is_found() -> None:
    evidence = Evidence(RULES)
    x = np.full(len(RULES.names), np.nan)
    x[ERRORS] = 0.0
    for _ in range(3000):
        evidence.bet(x)
    x[ERRORS] = 1.0
    needed = 0
    while evidence.worse[ERRORS] < 80:
        evidence.bet(x)
        needed += 1
    assert needed <= 40


def test_what_is_not_known_is_no_evidence() -> None:
    evidence = Evidence(RULES)
    evidence.add(True, [None] * len(RULES.names))
    evidence.bet(np.full(len(RULES.names), np.nan))
    assert (evidence.worse == 1).all() and (evidence.not_worse == 1).all()
    values: list[float | None] = [1.0] * len(RULES.names)
    for _ in range(1000):
        evidence.add(True, values)  # of the challenger alone
    assert evidence.worse[ERRORS] == 1
    assert evidence.worse[AGREEMENT] > 100  # its values need no champion


def test_a_block_is_the_difference_of_means_since_the_last_one() -> None:
    one, same = Evidence(RULES), Evidence(RULES)
    values: list[float | None] = [None] * len(RULES.names)
    for challenger, value in (
        (False, 1.0),
        (False, 0.0),
        (True, 1.0),
        (True, 0.0),
        (True, 0.0),
        (False, 1.0),
    ):
        values[TAIL] = value
        one.add(challenger, values)
    x = np.full(len(RULES.names), np.nan)
    for x[TAIL] in (1.0 - 0.5, 0.0 - 1.0):
        same.bet(x)
    assert one.worse[TAIL] == pytest.approx(same.worse[TAIL])
    assert one.blocks[TAIL] == 2


def test_a_stage_forgets_what_is_not_worse_and_keeps_what_is_worse() -> None:
    evidence = Evidence(RULES)
    x = np.full(len(RULES.names), np.nan)
    x[ERRORS] = 1.0
    for _ in range(5):
        evidence.bet(x)
    worse = evidence.worse.copy()
    evidence.next_stage(2.0)
    assert (evidence.not_worse == 1).all() and (evidence.worse == worse).all()


def test_its_state_survives_as_json() -> None:
    first = Evidence(RULES)
    for value in (0.0, 1.0, 0.5):
        first.add(True, [value] * len(RULES.names))
        first.add(False, [0.0] * len(RULES.names))
    second = Evidence(RULES)
    second.restore(json.loads(json.dumps(first.to_json())))
    for evidence in (first, second):
        evidence.add(True, [1.0] * len(RULES.names))
        evidence.add(False, [0.0] * len(RULES.names))
    assert (first.worse == second.worse).all() and (first.not_worse == second.not_worse).all()
    with pytest.raises(ValueError, match="does not fit the rules"):
        second.restore({**first.to_json(), "fixed": [[1.0]]})


@given(st.lists(st.floats(-1, 1), max_size=60))
def test_evidence_stays_finite_and_positive(values: list[float]) -> None:
    evidence = Evidence(RULES)
    for value in values:
        evidence.bet(np.full(len(RULES.names), value))
    for found in (evidence.worse, evidence.not_worse):
        assert np.isfinite(found).all() and (found > 0).all()


@given(st.integers(0, 2000), st.floats(0, 1))
def test_the_upper_level_is_above_the_mean(number: int, share: float) -> None:
    level = upper_level(share * number, number, 0.001)
    assert share - 1e-9 <= level <= 1 or number == 0
    assert upper_level(share * number, number, 0.0001) >= level


def test_the_upper_level_holds_the_truth() -> None:
    random = np.random.default_rng(1)
    missed = 0
    for _ in range(200):
        total = np.cumsum(random.random(1000) < 0.05)
        missed += any(upper_level(float(total[at - 1]), at, 0.05) < 0.05 for at in (10, 30, 100, 300, 1000))
    assert missed <= 10
