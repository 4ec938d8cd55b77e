"""The watch as a whole: alarms, words, state."""

from __future__ import annotations

import json

import pytest

from edgehone.core.errors import InputError
from edgehone.drift import DriftWatch, Reference
from tests.drift.traffic import reference, samples


def test_longer_prompts_are_told_with_their_figures() -> None:
    watch = DriftWatch(reference())
    for one in samples(640, 1):
        watch.observe(one)
    assert not watch.signal.alarm
    for one in samples(640, 2, shift=1.5):
        watch.observe(one)
    assert watch.signal.alarm
    assert watch.signal.alarm_of("inputs")
    length = next(one for one in watch.signal.evidence if one.name == "length")
    assert length.alarm
    assert length.changed.startswith("prompts are longer: ")
    assert length.changed.endswith("in the reference")
    assert watch.signal.since is not None
    assert 500 <= watch.signal.since <= 700


def test_a_stored_state_continues_exactly() -> None:
    made = reference()
    watch = DriftWatch(made)
    for one in samples(333, 3):
        watch.observe(one)
    stored = json.loads(json.dumps(watch.to_json()))
    again = DriftWatch.from_json(stored, Reference.from_json(json.loads(json.dumps(made.to_json()))))
    for one in samples(333, 4, shift=0.5):
        watch.observe(one)
        again.observe(one)
    assert again.to_json() == watch.to_json()
    assert again.signal == watch.signal


def test_a_state_for_another_reference_is_refused() -> None:
    stored = DriftWatch(reference()).to_json()
    with pytest.raises(InputError, match="another reference"):
        DriftWatch.from_json(stored, reference(seed=9))


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(InputError, match="at least 48 samples, but there are 10"):
        reference(10)
