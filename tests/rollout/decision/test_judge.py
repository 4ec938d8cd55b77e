"""The judge: stages, verdicts, time, what is lacking, its state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from edgehone.rollout.decision.judge import Judge
from edgehone.rollout.decision.memory import MemorySample
from edgehone.rollout.decision.outcome import Outcome, outcome_of
from edgehone.rollout.decision.rules import Rules, with_entries

GOOD = Outcome(failed=False, seconds=0.1, disagreement=0.0)


def rules(stages: list[Mapping[str, Any]], **more: Any) -> Rules:
    return with_entries({"strategy": {"ramp": stages}, "baseline_requests": 10, **more}, "rules")


def judge(*stages: Mapping[str, Any], **more: Any) -> Judge:
    made = rules([*stages], **more)
    return Judge(made, made.strategies["ramp"])


SHADOW = {"name": "shadow", "shadow": True, "seconds": 10, "requests": 50}
HALF = {"name": "50 %", "weight": 0.5}
ALL = {"name": "100 %", "weight": 1.0, "requests": 5}


def pairs(one: Judge, count: int, challenger: Outcome = GOOD) -> None:
    for _ in range(count):
        one.pair(GOOD, challenger)


def test_no_data_is_no_success() -> None:
    one = judge({**SHADOW, "seconds": 0, "requests": 0})
    assert one.verdict().action == "wait"
    assert "errors: no data" in one.lacking()
    one.passed(1e9)
    assert one.seconds <= 5  # a machine that slept has not observed for longer


def test_a_stage_passes_with_time_requests_and_evidence_only() -> None:
    one = judge(SHADOW, HALF)
    pairs(one, 600)
    assert one.verdict().action == "wait" and one.lacking() == ["0 of 10 s"]
    for _ in range(10):
        one.passed(1.0)
    assert one.verdict().action == "advance"
    one.advance()
    assert one.stage.name == "50 %" and one.last and one.requests == 0
    # The next stage begins anew, but quality has been shown.
    assert one.lacking() == ["errors: no data", "latency: no data", "tail: no data"]


def test_one_quality_must_be_shown() -> None:
    one = judge({**SHADOW, "seconds": 0})
    for _ in range(600):
        one.pair(GOOD, Outcome(failed=False, seconds=0.1))
    assert one.verdict().action == "wait"
    (lacks,) = one.lacking()
    assert lacks.startswith("no quality is shown yet (agreement: no data; confidence: no data; feedback")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Outcome(failed=True), "errors"),
        (Outcome(failed=False, seconds=0.9, disagreement=0.0), "latency"),
        (Outcome(failed=False, seconds=0.1, disagreement=1.0), "agreement"),
    ],
)
def test_a_worse_challenger_is_rolled_back(bad: Outcome, reason: str) -> None:
    one = judge(SHADOW)
    pairs(one, 20)
    for count in range(40):
        one.pair(GOOD, bad)
        verdict = one.verdict()
        if verdict.action == "roll back":
            assert verdict.reason.startswith((reason, "tail")) and "the margin is" in verdict.reason
            assert count < 30
            return
    pytest.fail(verdict.reason)


def test_a_slow_challenger_is_found_by_few_copies_once_the_champion_has_answered_many() -> None:
    one = judge({**SHADOW, "seconds": 0}, baseline_requests=100)
    for _ in range(100):
        one.reference(GOOD)
    for _ in range(30):
        one.pair(GOOD, Outcome(failed=False, seconds=5.0))
    verdict = one.verdict()
    assert verdict.action == "roll back" and verdict.reason.startswith(("latency", "tail")), verdict


def test_without_a_decision_it_gives_up_and_says_what_lacked() -> None:
    one = judge(SHADOW, patience_seconds=20)
    for _ in range(5):
        one.passed(4.0)
    verdict = one.verdict()
    assert verdict.action == "give up" and "not enough traffic" in verdict.reason
    assert "0 of 50 requests" in verdict.reason


def test_time_does_not_run_backwards() -> None:
    one = judge(SHADOW)
    one.passed(-100.0)
    assert one.seconds == 0


def test_the_last_stage_is_compared_with_the_level_of_the_champion() -> None:
    one = judge({**HALF, "requests": 0}, ALL, objective={"agreement": {"role": "quality"}})
    for _ in range(500):
        one.outcome(False, Outcome(failed=False, seconds=0.1, entropy=0.3))
        one.outcome(True, Outcome(failed=False, seconds=0.1, entropy=0.3))
    assert one.verdict().action == "advance", one.lacking()
    one.advance()
    for _ in range(100):
        one.outcome(True, Outcome(failed=False, seconds=5.0, entropy=0.3))  # load may have changed
    assert one.verdict().action == "wait"
    for _ in range(60):
        one.outcome(True, Outcome(failed=True))
    assert one.verdict().action == "roll back" and one.verdict().reason.startswith("errors")


def test_memory_above_the_limit_rolls_back() -> None:
    one = judge(SHADOW)
    for _ in range(2):
        one.sample(MemorySample(1e9, 2e9, 8e9), 1.0)
    assert one.verdict().action == "wait"
    one.sample(MemorySample(1e9, 2e9, 8e9), 1.0)
    assert "memory: 2000 MB, and the limit is 1314 MB" in one.verdict().reason


def test_a_machine_without_memory_rolls_back() -> None:
    one = judge(SHADOW)
    for _ in range(3):
        one.sample(MemorySample(None, None, 1e8), 1.0)
    assert "the machine has 100 MB left" in one.verdict().reason


def test_a_leak_is_found_and_noise_and_caches_are_not() -> None:
    random = np.random.default_rng(1)
    leaking, steady, filling = (judge(SHADOW) for _ in range(3))
    for second in range(300):
        noise = 1e9 * (1 + 0.0003 * random.normal())
        leaking.sample(MemorySample(1e9, noise + second * 3e5, 8e9), 1.0)
        steady.sample(MemorySample(1e9, noise, 8e9), 1.0)
        filling.sample(MemorySample(1e9, noise + 5e7 * (1 - np.exp(-second / 60)), 8e9), 1.0)
    assert leaking.verdict().reason.startswith("leak: ")
    assert steady.verdict().action == filling.verdict().action == "wait"


def test_its_state_survives_as_json() -> None:
    first = judge(SHADOW, HALF, ALL)
    pairs(first, 600)
    for _ in range(10):
        first.passed(1.0)
    first.advance()
    first.outcome(True, GOOD)
    second = judge(SHADOW, HALF, ALL)
    second.restore(json.loads(json.dumps(first.to_json())))
    assert second.to_json() == first.to_json() and second.figures() == first.figures()
    assert second.lacking() == first.lacking()
    with pytest.raises(ValueError, match="stage 7 of 3"):
        second.restore({**first.to_json(), "at": 7})


def test_figures_say_where_there_is_no_data() -> None:
    found = {one["objective"]: one for one in judge(SHADOW).figures()}
    assert found["errors"]["challenger"] is None and found["errors"]["reason"] == "no data"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, Outcome(False, 0.5, 0.2)), (429, Outcome(True)), (500, Outcome(True)), (504, Outcome(True)), (400, None),
     (404, None), (499, None)],
)  # fmt: skip
def test_what_a_status_means(status: int, expected: Outcome | None) -> None:
    assert outcome_of(status, 0.5, 0.2) == expected


def test_what_is_not_known_of_the_champion_is_not_shown_at_100_percent() -> None:
    one = judge({**SHADOW, "seconds": 0}, ALL)
    pairs(one, 600)
    one.advance()
    for _ in range(600):
        one.outcome(True, Outcome(failed=False, seconds=0.1, entropy=0.9))
    confidence = next(found for found in one.figures() if found["objective"] == "confidence")
    assert confidence["not_worse"] == 1 and confidence["worse"] == 1
