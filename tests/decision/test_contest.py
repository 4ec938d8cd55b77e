"""Which comparisons further rounds could still decide."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgehone.core.figure import Figure
from edgehone.decision import requirements
from edgehone.decision.choice import indifference
from edgehone.decision.contest import Contested, contested
from edgehone.decision.decide import DISTURBED
from edgehone.decision.decision import Candidate
from tests.decision.timed import timed

WEIGHTS = {"speed": 1.0}
GATES = ("accuracy_kept=off", "memory_cut=off", "latency_cv=off")


ORIGINAL = timed("pytorch/original", [300.0, 300.0, 300.0])


def between(*candidates: Candidate, gates: tuple[str, ...] = ("speedup=off",)) -> set[str]:
    required = requirements.load(overrides=[*GATES, *gates])
    return set(contested(candidates, ORIGINAL, required, WEIGHTS).keys)


def test_a_clear_winner_needs_no_more_rounds() -> None:
    assert between(timed("a", [50.0, 51.0, 49.0]), timed("b", [100.0, 102.0, 98.0])) == set()


def test_those_that_cannot_be_told_apart_are_measured_on() -> None:
    slow = timed("c", [200.0, 202.0, 198.0])
    assert between(timed("a", [80.0, 100.0, 120.0]), timed("b", [120.0, 100.0, 90.0]), slow) == {"a", "b"}


def test_a_tie_is_decided() -> None:
    near = 1 + indifference() / 10
    assert between(timed("a", [100.0, 100.1, 99.9]), timed("b", [100.0 * near, 100.1, 99.9])) == set()


def test_the_best_is_measured_on_while_a_gate_on_its_speed_is_undecided() -> None:
    """Its speedup is 2 within its interval."""
    near = timed("a", [140.0, 150.0, 160.0])
    assert between(near, timed("b", [250.0, 251.0, 249.0]), gates=()) == {"a"}
    clear = timed("a", [50.0, 52.0, 48.0])
    assert between(clear, timed("b", [148.0, 150.0, 152.0]), gates=()) == set()


def test_what_fails_a_gate_on_quality_is_not_measured_on() -> None:
    required = requirements.load(overrides=["memory_cut=off", "latency_cv=off", "speedup=off"])
    good, rough = timed("a", [80.0, 100.0, 120.0]), timed("b", [120.0, 100.0, 90.0])
    rough = replace(rough, figures={**rough.figures, "accuracy_kept": Figure(0.5, 0.49, 0.51, 24, "ratio")})
    assert contested([good, rough], ORIGINAL, required, WEIGHTS) == Contested("a")


def test_a_disturbed_best_is_measured_on() -> None:
    best = timed("a", [50.0, 51.0, 49.0])
    best = replace(best, facts={**best.facts, DISTURBED: "cc1 takes 90 %"})
    assert between(best, timed("b", [100.0, 101.0, 99.0]), gates=()) == {"a"}


@pytest.mark.parametrize("candidates", [[], [Candidate("a", "a", {}, status="failed", error="no compiler")]])
def test_without_a_candidate_nothing_is_contested(candidates: list[Candidate]) -> None:
    assert between(*candidates) == set()
