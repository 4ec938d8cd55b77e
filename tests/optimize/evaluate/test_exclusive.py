"""Measurements that other programs or the clocks spoiled are repeated, within the run's patience."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from edgehone.core.errors import JobError, MachineBusy
from edgehone.decision.decide import DISTURBED
from edgehone.execution.store import JobResult
from edgehone.optimize.evaluate.exclusive import ATTEMPTS, MOST_DISTURBED, TIME_REQUESTS, run_exclusively
from edgehone.optimize.patience import BUSY
from tests.optimize.evaluate.rounds import EFFORT, JOB_SECONDS, Run, result, round_facts, trial


def answers(*given: JobResult) -> Any:
    """Answer one job after another; the last answer stays."""
    left = list(given)
    return lambda name, args: left.pop(0) if len(left) > 1 else left[0]


SPOILED, FINE = result(round_facts(50.0, disturbed=True)), result(round_facts(10.0))


def measured(run: Run, call: str = TIME_REQUESTS, **more: Any) -> tuple[JobResult, dict[str, Any]]:
    one = trial("q8")
    done = run_exclusively(
        run.ctx, run.original, one, call, lambda fraction, text: run.said.append(text), **more
    )
    return done, one.facts


def test_a_disturbed_round_is_discarded_and_repeated() -> None:
    run = Run(answers(SPOILED, SPOILED, FINE), when_busy="wait")
    done, facts = measured(run, seconds=1.0)
    assert done is FINE
    assert facts == {"discarded": ["other programs left no undisturbed time"] * 2}
    # Each attempt is a job of its own, and the time of the spoiled ones is gone.
    assert [job["args"].get("attempt") for job in run.jobs] == [None, 1, 2]
    assert run.patience.left == pytest.approx(EFFORT.patience - 2 * JOB_SECONDS)


def test_when_patience_ends_a_disturbed_round_is_kept_and_flagged() -> None:
    run = Run(answers(SPOILED), when_busy="wait")
    run.patience.left = 2 * JOB_SECONDS
    done, facts = measured(run)
    assert len(facts["discarded"]) == 1
    assert done.facts[DISTURBED] == "other programs take 90 % of the processors while it was measured"


def test_a_round_that_never_gets_quiet_does_not_use_up_all_patience() -> None:
    run = Run(answers(SPOILED), when_busy="wait")
    done, facts = measured(run)
    assert len(facts["discarded"]) == MOST_DISTURBED and DISTURBED in done.facts
    assert run.patience.left == pytest.approx(EFFORT.patience - MOST_DISTURBED * JOB_SECONDS)


def test_measuring_as_it_is_flags_it_at_once() -> None:
    run = Run(answers(SPOILED), when_busy="measure")
    done, facts = measured(run)
    assert done.facts.keys() - SPOILED.facts.keys() == {DISTURBED}
    assert len(run.jobs) == 1 and not facts


def test_a_run_that_must_not_wait_stops() -> None:
    run = Run(answers(SPOILED), when_busy="stop", share=0.9)
    with pytest.raises(MachineBusy, match="other programs take 90 % of the processors"):
        measured(run)


def test_a_stored_round_that_was_disturbed_then_does_not_stop_a_run_now() -> None:
    run = Run(answers(result(SPOILED.facts, cached=True), FINE), when_busy="stop", share=0.9)
    assert measured(run)[0] is FINE


def test_finding_a_disturbed_round_in_the_store_costs_no_patience() -> None:
    run = Run(answers(result(SPOILED.facts, cached=True), FINE), when_busy="wait")
    assert measured(run)[0] is FINE
    assert run.patience.left == EFFORT.patience


def test_waiting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    monkeypatch.setattr("time.monotonic", lambda: 10.0 * next(now))
    run = Run(answers(SPOILED), when_busy="wait", share=BUSY + 0.1)
    measured(run)
    assert any(text.startswith("waiting for a quiet machine: other programs take") for text in run.said)


def test_only_speed_is_disturbed_by_others() -> None:
    run = Run(answers(SPOILED), when_busy="stop", share=0.9)
    assert measured(run, "edgehone.worker.memory:exercise")[0] is SPOILED


def test_jumps_of_the_clock_are_repeated_whatever_the_patience() -> None:
    jump = result(round_facts(10.0), jump="the machine slept for 12.0 s")
    run = Run(answers(jump, FINE), when_busy="measure")
    done, facts = measured(run)
    assert done is FINE and facts == {"discarded": ["the machine slept for 12.0 s"]}
    always = Run(answers(jump))
    with pytest.raises(JobError, match=f"slept for 12[.]0 s during a measurement, {ATTEMPTS} times in a row"):
        measured(always)
    assert len(always.jobs) == ATTEMPTS


def test_a_jump_between_disturbed_rounds_is_told_as_such() -> None:
    jump = result(round_facts(10.0), jump="the machine slept for 12.0 s")
    run = Run(answers(jump, SPOILED, jump, SPOILED, jump), when_busy="wait")
    with pytest.raises(JobError, match=r"slept for 12[.]0 s during a measurement"):
        measured(run)


@pytest.mark.parametrize("epoch", ["", "2026-01-01"])
def test_results_are_keyed_by_the_device_and_by_the_epoch_where_there_is_one(epoch: str) -> None:
    def also(run: Run) -> Mapping[str, Any]:
        found: Mapping[str, Any] = run.jobs[0]["also"]
        assert run.jobs[0]["exclusive"] is True
        return found

    run = Run(answers(FINE))
    measured(run, epoch=epoch)
    assert also(run) == {"device": "here", **({"epoch": epoch} if epoch else {})}
