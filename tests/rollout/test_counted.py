"""Outcomes from the counters of servers."""

from __future__ import annotations

import random

import pytest

from edgehone.rollout.decision.outcome import Outcome
from edgehone.rollout.drive.counted import Counter, shuffled

METRICS = """
edgehone_request_seconds_bucket{{model="chat",le="0.1"}} {fast}
edgehone_request_seconds_bucket{{model="chat",le="1.0"}} {all}
edgehone_request_seconds_bucket{{model="chat",le="+Inf"}} {all}
edgehone_request_seconds_bucket{{model="other",le="0.1"}} 99
edgehone_failures_total{{model="chat",reason="engine"}} {failed}
edgehone_failures_total{{model="chat",reason="invalid"}} 50
edgehone_feedback_total{{model="chat",verdict="bad"}} {bad}
edgehone_confidence_entropy_bucket{{model="chat",le="0.5"}} {bad}
edgehone_confidence_entropy_bucket{{model="chat",le="+Inf"}} {bad}
edgehone_resident_memory_bytes{{model="chat",part="engine"}} 5e7
"""


def text(fast: int = 0, slow: int = 0, failed: int = 0, bad: int = 0) -> str:
    return METRICS.format(fast=fast, all=fast + slow, failed=failed, bad=bad)


def test_what_was_counted_between_two_looks_becomes_outcomes() -> None:
    one = Counter("chat")
    one.look(text(fast=5), 3)
    assert one.outcomes == [] and one.memory == 5e7
    one.look(text(fast=7, slow=1, failed=1, bad=1), 5)
    expected = [Outcome(False, 0.1)] * 2 + [Outcome(False, 1.0)] + [Outcome(True)] * 3
    assert one.outcomes == [*expected, Outcome(entropy=0.5), Outcome(bad=1.0)]


def test_a_server_that_began_again_counts_from_0() -> None:
    one = Counter("chat")
    one.look(text(fast=100, failed=9), 9)
    one.look(text(fast=2, failed=1), 0)
    assert one.outcomes == [Outcome(False, 0.1)] * 2 + [Outcome(True)]


def test_both_versions_are_shuffled_together_and_taken_once() -> None:
    champion, challenger = Counter("chat"), Counter("chat")
    champion.outcomes, challenger.outcomes = [Outcome(False, 0.1)] * 50, [Outcome(True)] * 50
    found = shuffled([champion], [challenger], random.Random(1))
    assert sum(arm for arm, _ in found) == 50 and all(one.failed == arm for arm, one in found)
    assert len({*(arm for arm, _ in found[:10])}) == 2
    assert shuffled([champion], [challenger], random.Random(1)) == []


def test_other_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no line"):
        Counter("chat").look("edgehone_request_seconds_bucket{", 0)
