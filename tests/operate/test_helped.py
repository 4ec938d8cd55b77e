"""Whether a remedy helped: the verdicts are rarely wrong, and come after few measurements."""

from __future__ import annotations

import random

from edgehone.operate.helped import Judged


def verdict(before: list[float], after: list[float], limit: float | None = None) -> str:
    one = Judged(before, limit)
    assert one.can_tell
    for value in after:
        one.add(value)
        if one.verdict != "not enough data":
            return one.verdict
    return one.verdict


def times(draw: random.Random, mean: float, count: int) -> list[float]:
    return [mean * draw.uniform(0.85, 1.15) for _ in range(count)]


def test_times_that_became_shorter() -> None:
    draw = random.Random(1)
    for _ in range(50):
        assert verdict(times(draw, 0.2, 30), times(draw, 0.1, 60)) == "helped"


def test_a_remedy_without_an_effect_is_rarely_kept() -> None:
    draw = random.Random(2)
    outcomes = [verdict(times(draw, 0.2, 30), times(draw, 0.2, 200)) for _ in range(200)]
    # By the guarantee at most 5 %, with the rest undecided until the patience is over.
    assert outcomes.count("helped") <= 0.05 * len(outcomes)


def test_times_that_vary_by_factors() -> None:
    """Behind a queue that drains slowly: most are better, but a few are as before."""
    draw = random.Random(3)
    before = [0.2 * draw.lognormvariate(0, 0.7) for _ in range(40)]
    after = [draw.choice([0.016] * 6 + [0.2]) for _ in range(80)]
    assert verdict(before, after) == "helped"


def test_a_state_that_ended() -> None:
    assert verdict([0.0] * 20, [-1.0] * 40, -1.0) == "helped"  # ready is 1 again
    assert verdict([0.0] * 20, [0.0] * 60, -1.0) == "did not help"


def test_too_little_or_too_good_before_tells_nothing() -> None:
    assert not Judged([0.2] * 5, None).can_tell
    assert not Judged([], None).can_tell
    assert not Judged([0.0] * 30, 0.01).can_tell  # no request failed before
    assert "tell nothing" in str(Judged([], None))
