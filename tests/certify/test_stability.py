"""Trends of a soak, on series of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgehone.certify.serving import Block, Loads, loads
from edgehone.certify.subject import Subject
from tests.certify.subjects import check, subject_of
from tests.finished import Finished

COUNT = 20


def _soaked(subject: Subject, blocks: Sequence[Block]) -> Subject:
    """The subject after loads with these blocks."""
    subject._made[loads] = Loads(
        1.0, 10.0, [], [], 0.0, 100.0, 100.0, 60.0, ("", ""), blocks, "so", 1.0, [], 3
    )
    return subject


def _blocks(growth: float, others: float = 0.0, answer: str = "so", slower: float = 0.0) -> list[Block]:
    draw = np.random.default_rng(4)
    return [
        Block(
            float(at),
            tuple(0.01 * (1 + growth * at / COUNT) * np.exp(draw.normal(0, 0.03, 9))),
            0,
            100 * (1 + growth * at / COUNT),
            answer if at == COUNT - 1 else "so",
            others,
            float((1 + slower * at / COUNT) * np.exp(draw.normal(0, 0.03))),
        )
        for at in range(COUNT)
    ]


@pytest.fixture
def subject(finished: Finished, tmp_path: Path) -> Subject:
    return subject_of(finished.bundle, tmp_path / "work")


def test_a_steady_soak_passes(subject: Subject) -> None:
    _soaked(subject, _blocks(0.0))
    for name in ("latency_trend", "memory_trend", "output_trend"):
        assert check(subject, name).outcome == "passed", name


def test_growth_fails(subject: Subject) -> None:
    _soaked(subject, _blocks(0.6))
    for name in ("latency_trend", "memory_trend"):
        assert check(subject, name).outcome == "failed", name


def test_growth_while_others_ran_decides_nothing_of_the_latency(subject: Subject) -> None:
    _soaked(subject, _blocks(0.6, others=0.5))
    found = check(subject, "latency_trend")
    assert found.outcome == "undecided" and "quiet machine" in found.reason
    assert check(subject, "memory_trend").outcome == "failed"


def test_growth_while_the_processors_became_slower_decides_nothing_of_the_latency(subject: Subject) -> None:
    found = check(_soaked(subject, _blocks(0.6, slower=0.6)), "latency_trend")
    assert found.outcome == "undecided" and "the processors became slower" in found.reason


def test_growth_beyond_that_of_slower_processors_fails(subject: Subject) -> None:
    assert check(_soaked(subject, _blocks(1.5, slower=0.2)), "latency_trend").outcome == "failed"


def test_calm_blocks_are_judged_without_the_others(subject: Subject) -> None:
    calm, busy = _blocks(0.0), _blocks(3.0, others=0.5)
    _soaked(subject, [calm[at] if at % 2 else busy[at] for at in range(COUNT)])
    assert check(subject, "latency_trend").outcome == "passed"


def test_one_other_answer_fails(subject: Subject) -> None:
    found = check(_soaked(subject, _blocks(0.0, answer="no")), "output_trend")
    assert found.outcome == "failed" and "'no', no longer 'so'" in found.reason


def test_few_blocks_decide_nothing(subject: Subject) -> None:
    _soaked(subject, _blocks(0.6)[:5])
    assert check(subject, "memory_trend").outcome == "undecided"
