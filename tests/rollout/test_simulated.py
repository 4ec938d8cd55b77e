"""Simulated releases through the code that decides: the short form of benchmarks/rollout.py."""

from __future__ import annotations

import pytest

from benchmarks.rolling.world import KINDS, Kind, simulate
from edgehone.rollout.decision.rules import shipped


@pytest.mark.parametrize("kind", KINDS[1:])
def test_bad_releases_are_rolled_back_before_many_see_them(kind: Kind) -> None:
    found = [simulate(seed, kind, shipped()) for seed in range(10)]
    assert [one.status for one in found] == ["rolled back"] * 10, found
    assert sorted(one.share for one in found)[5] < 0.05


def test_good_releases_are_promoted() -> None:
    assert [simulate(seed, "good", shipped()).status for seed in range(5)] == ["promoted"] * 5


@pytest.mark.long
def test_a_hundred_releases_meet_the_goals() -> None:
    kinds: list[Kind] = [KINDS[1 + number // 2 % 5] if number % 2 else "good" for number in range(100)]
    found = [simulate(100 + number, kind, shipped()) for number, kind in enumerate(kinds)]
    good = [one.status for one in found if one.release.kind == "good"]
    bad = [one for one in found if one.release.kind != "good"]
    assert good.count("rolled back") <= 3 and good.count("promoted") >= 47
    assert sum(one.status == "rolled back" for one in bad) >= 48
    assert sorted(one.share for one in bad)[25] < 0.05
