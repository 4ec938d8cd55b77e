"""Interleaved rounds: who takes part, when they end, and what is left of disturbed ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.backends.base import Recipe
from edgehone.core.errors import MachineBusy
from edgehone.decision import pairs, requirements
from edgehone.decision.decide import DISTURBED
from edgehone.execution.store import JobResult
from edgehone.optimize.evaluate.speed_rounds import (
    MIN_ROUNDS,
    Contest,
    in_epoch,
    in_turn,
    measure_speed,
    settle,
)
from edgehone.optimize.trial import Trial
from tests.optimize.evaluate.rounds import EFFORT, JOB_SECONDS, Run, result, round_facts, trial

CONTEST = Contest(
    requirements.load(overrides=[f"{gate.name}=off" for gate in requirements.load().gates]), {"speed": 1.0}
)


def times(spread: float, seed: int = 1, **means: float) -> Any:
    """Answer with rounds around a mean for each trial, which vary by `spread`."""
    dice = random.Random(seed)

    def answer(name: str, args: Mapping[str, Any]) -> JobResult:
        milliseconds = means[name] * (1 + spread * (2 * dice.random() - 1))
        return result(round_facts(milliseconds, at=60.0 + args["round"], cold=args["cold"]))

    return answer


def counts(run: Run) -> Counter[str]:
    return Counter(job["args"]["settings"]["name"] for job in run.jobs)


def measured(run: Run, *trials: Trial) -> int:
    return measure_speed(run.ctx, run.original, [run.original.baseline, *trials])


def test_steady_trials_take_the_least_number_of_rounds() -> None:
    run = Run(times(0.0, original=100.0, a=50.0, b=40.0))
    a, b = trial("a"), trial("b")
    assert measured(run, a, b) == MIN_ROUNDS
    assert counts(run) == {"original": MIN_ROUNDS, "a": MIN_ROUNDS, "b": MIN_ROUNDS}
    assert a.figures["workload_latency_ms"].value == pytest.approx(50)
    assert a.facts["unstable"] is False
    colds = [job["args"]["cold"] for job in run.jobs]
    assert colds == [True] * 3 + [False] * (3 * (MIN_ROUNDS - 1))


def test_what_runs_as_the_original_does_is_not_timed_beside_it() -> None:
    run = Run(times(0.5, original=100.0, b=40.0))
    same = Trial(Recipe("null", "as-is", settings={"name": "original"}), artifact=result({}), bytes=1_000_000)
    measured(run, same, trial("b"))
    assert counts(run) == {"original": EFFORT.rounds, "b": EFFORT.rounds}
    assert same.facts[pairs.ROUNDS] == run.original.baseline.facts[pairs.ROUNDS]
    found = pairs.speedup(same.candidate(), run.original.baseline.candidate())
    assert (found.value, found.low, found.high, found.n) == (1.0, 1.0, 1.0, EFFORT.rounds)


def test_without_the_original_in_its_round_it_is_timed() -> None:
    run = Run(times(0.0, original=100.0))
    same = Trial(Recipe("null", "as-is", settings={"name": "original"}), artifact=result({}), bytes=1_000_000)
    measure_speed(run.ctx, run.original, [same])
    assert counts(run) == {"original": MIN_ROUNDS} and same.figures["workload_latency_ms"].value


def test_the_original_takes_part_in_each_round_of_an_unsteady_trial() -> None:
    steady = times(0.0, original=100.0, b=40.0)
    shaky = times(0.5, a=50.0)
    run = Run(lambda name, args: (shaky if name == "a" else steady)(name, args))
    a, b = trial("a"), trial("b")
    assert measured(run, a, b) == EFFORT.rounds
    assert counts(run) == {"original": EFFORT.rounds, "a": EFFORT.rounds, "b": MIN_ROUNDS}
    assert a.facts[pairs.ROUNDS].keys() == run.original.baseline.facts[pairs.ROUNDS].keys()
    found = pairs.speedup(a.candidate(), run.original.baseline.candidate())
    assert found.n == EFFORT.rounds


def test_a_round_is_noted_with_its_time_latency_and_rate() -> None:
    run, a = Run(times(0.0, original=100.0, a=50.0)), trial("a")
    measured(run, a)
    assert a.facts[pairs.ROUNDS]["2"] == pytest.approx([62.0, 50.0, 20.0])


def settled(run: Run, *trials: Trial) -> int:
    """Measure in a few rounds and settle; return how many jobs settling took."""
    number = measure_speed(run.ctx, run.original, [run.original.baseline, *trials], MIN_ROUNDS)
    before = len(run.jobs)
    settle(run.ctx, run.original, trials, CONTEST, number)
    return len(run.jobs) - before


def test_a_clear_choice_is_settled_at_once() -> None:
    assert settled(Run(times(0.0, original=100.0, a=50.0, b=40.0)), trial("a"), trial("b")) == 0


def test_rounds_go_on_until_the_choice_is_decided() -> None:
    """Two that are 10 % apart, in rounds that vary by more for each of them alone."""
    run = Run(times(0.12, original=100.0, a=45.0, b=50.0, c=200.0))
    more = settled(run, trial("a"), trial("b"), trial("c"))
    assert 0 < more < 3 * EFFORT.budget / JOB_SECONDS
    assert (
        counts(run)["original"] == MIN_ROUNDS
    )  # it is the slowest, and no gate that compares with it is undecided
    assert counts(run)["c"] == MIN_ROUNDS
    assert counts(run)["a"] >= counts(run)["b"] > MIN_ROUNDS
    assert any("too close to tell apart" in text for text in run.told)
    numbers = [job["args"]["round"] for job in run.jobs if job["args"]["settings"]["name"] == "a"]
    assert numbers == list(range(len(numbers)))


def test_the_original_takes_part_while_a_gate_that_compares_with_it_is_undecided() -> None:
    required = requirements.load(
        overrides=[f"{gate.name}=off" for gate in requirements.load().gates if gate.name != "speedup"]
    )
    run = Run(times(0.3, original=100.0, a=70.0))
    a = trial("a")
    number = measure_speed(run.ctx, run.original, [run.original.baseline, a], MIN_ROUNDS)
    settle(run.ctx, run.original, [a], Contest(required, {"speed": 1.0}), number)
    assert counts(run)["original"] == counts(run)["a"] > MIN_ROUNDS


def test_the_best_is_measured_until_it_is_steady_within_the_rounds_of_the_effort() -> None:
    steady, shaky = times(0.0, original=100.0, b=90.0), times(0.3, a=20.0)
    run = Run(lambda name, args: (shaky if name == "a" else steady)(name, args))
    settled(run, trial("a"), trial("b"))
    assert counts(run) == {"original": EFFORT.rounds, "a": EFFORT.rounds, "b": MIN_ROUNDS}


def test_settling_ends_when_its_time_is_used_up() -> None:
    run = Run(times(0.6, original=100.0, a=50.0, b=50.0))
    assert settled(run, trial("a"), trial("b")) * JOB_SECONDS == pytest.approx(EFFORT.budget, rel=0.2)


def test_a_trial_that_failed_is_not_measured_on() -> None:
    run = Run(times(0.6, original=100.0, a=50.0, b=50.0))
    a, b = trial("a"), trial("b")
    measured(run, a, b)
    b.drop("failed", "killed")
    before = counts(run)["b"]
    settle(run.ctx, run.original, [a, b], CONTEST, 5)
    assert counts(run)["b"] == before


def disturbed_in(*numbers: int) -> Any:
    def answer(name: str, args: Mapping[str, Any]) -> JobResult:
        disturbed = name == "a" and args["round"] in numbers
        return result(
            round_facts(500.0 if disturbed else 50.0, at=60.0, disturbed=disturbed, cold=args["cold"])
        )

    return answer


def test_disturbed_rounds_do_not_count_once_there_are_enough_others() -> None:
    run, a = Run(disturbed_in(0, 1)), trial("a")
    measured(run, a)
    assert a.figures["workload_latency_ms"].value == pytest.approx(50)
    assert DISTURBED not in a.facts
    assert len(a.samples["rounds"]) == EFFORT.rounds
    assert list(a.facts[pairs.ROUNDS]) == ["2", "3", "4"]
    assert a.figures["load_cold_ms"].value == pytest.approx(1000)


def test_disturbed_rounds_count_and_are_flagged_where_there_are_no_others() -> None:
    run, a = Run(disturbed_in(*range(EFFORT.rounds - MIN_ROUNDS + 1))), trial("a")
    measured(run, a)
    assert "other programs" in a.facts[DISTURBED]
    assert a.figures["workload_latency_ms"].n == EFFORT.rounds


def test_a_busy_machine_ends_a_run_that_must_not_wait_and_not_only_the_trial() -> None:
    run, a = Run(disturbed_in(0), when_busy="stop", share=0.9), trial("a")
    with pytest.raises(MachineBusy):
        measured(run, a)
    assert a.alive


def test_the_epoch_changes_with_the_day_the_machine_and_the_candidates() -> None:
    run = Run(times(0.0))
    a, b = trial("a"), trial("b")
    first = in_epoch(run.ctx, [a, b]).epoch
    assert first and in_epoch(run.ctx, [b, a]).epoch == first
    assert in_epoch(run.ctx, [a, b, trial("c")]).epoch != first
    for name, value in {
        "date": "2026-01-02", "kernel": "6.2", "governors": "powersave", "power": "battery"
    }.items():  # fmt: skip
        before, run.now[name] = run.now[name], value
        assert in_epoch(run.ctx, [a, b]).epoch != first
        run.now[name] = before
    assert in_epoch(run.ctx, [a, b]).epoch == first


def test_speed_is_keyed_by_the_epoch() -> None:
    run = Run(times(0.0, original=100.0, a=50.0))
    measured(run, trial("a"))
    assert {job["also"]["epoch"] for job in run.jobs} == {"today"}


@given(some.integers(1, 7), some.integers(0, 20))
def test_each_round_has_each_trial_once_in_another_order(count: int, number: int) -> None:
    trials = [trial(str(i)) for i in range(count)]
    found = list(in_turn(trials, number))
    assert sorted(t.recipe.name for t in found) == [str(i) for i in range(count)]
    if count > 2:
        assert [t.recipe.name for t in in_turn(trials, number + 1)] != [t.recipe.name for t in found]
    assert in_turn([], number) == []
