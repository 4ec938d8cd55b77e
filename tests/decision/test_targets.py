"""Targets: the best that meets all of them, else the nearest, and what each costs."""

from __future__ import annotations

import pytest

from edgehone.core.errors import InputError
from edgehone.core.figure import Figure
from edgehone.decision import aims
from edgehone.decision.decision import Candidate
from edgehone.decision.targets import choose_by

WEIGHTS = {"speed": 1.0, "quality": 8.0, "size": 0.1}


def candidate(key: str, latency: float, decode: float, size: float, kept: float = 1.0) -> Candidate:
    figures = {
        "workload_latency_ms": Figure(latency, latency * 0.99, latency * 1.01, 5, "ms"),
        "decode_tokens_per_s": Figure(decode, decode * 0.99, decode * 1.01, 5, "tokens/s"),
        "bytes": Figure(size * 1e6, n=1, unit="bytes"),
        "accuracy_kept": Figure(kept, kept - 0.001, kept, 24, "share"),
        "kl_mean": Figure(0.0, 0.0, 0.0, 24, "nats"),
    }
    return Candidate(key, key[0], {}, bytes=int(size * 1e6), figures=figures)


SLOW = candidate("a/slow", 100.0, 20.0, 100.0)
FAST = candidate("b/fast", 95.0, 40.0, 90.0, kept=0.97)
SMALL = candidate("c/small", 140.0, 25.0, 40.0, kept=0.98)


def chosen(*texts: str) -> tuple[str | None, tuple[str, ...]]:
    targets = aims.load(targets=texts).targets
    aim = choose_by([SLOW, FAST, SMALL], targets, WEIGHTS)
    return (aim.choice.key if aim.choice else None), aim.notes


def test_without_targets_the_weights_decide() -> None:
    assert chosen() == ("a/slow", ())


def test_the_best_that_meets_the_target_and_what_it_costs() -> None:
    key, (note,) = chosen("decode>=30")
    assert key == "b/fast"
    assert note.startswith(
        "target decode_tokens_per_s>=30: met (decode_tokens_per_s 39.6 (low end), required >= 30)"
    )
    assert "without it a/slow would be chosen: accuracy_kept 100 % against 97 %" in note


def test_a_target_that_the_choice_meets_anyway_costs_nothing() -> None:
    key, (note,) = chosen("decode>=10")
    assert key == "a/slow" and "costs nothing" in note


def test_the_nearest_where_no_candidate_meets_all() -> None:
    key, notes = chosen("decode>=30", "bytes<=50MB")
    assert key == "c/small"  # misses decode by a sixth; b/fast misses the size by four fifths
    assert "not met by any candidate" in notes[0] and ": met (" in notes[1]


def test_nothing_that_passes_is_no_choice() -> None:
    assert choose_by([], aims.load(targets=["decode>=30"]).targets, WEIGHTS).choice is None


def test_a_target_that_is_none_is_named_by_its_option() -> None:
    with pytest.raises(InputError, match="--target 'decode' is not a constraint"):
        aims.load(targets=["decode"])


def test_a_target_that_nothing_measures_does_not_hide_the_others() -> None:
    assert chosen("decode>=30", "energy<=1")[0] == "b/fast"
