"""The watch as a whole: alarms, words, state."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgehone.core.errors import InputError
from edgehone.drift import DriftWatch, Reference, ReferenceBuilder, Sample
from tests.drift.traffic import reference, samples

_REFERENCE = reference(2400)


def _watched(*parts: list[Sample]) -> DriftWatch:
    watch = DriftWatch(_REFERENCE)
    for part in parts:
        for one in part:
            watch.observe(one)
    return watch


def _alarms(watch: DriftWatch) -> set[str]:
    return {one.name for one in watch.signal.evidence if one.alarm}


def test_clean_requests_raise_no_alarm() -> None:
    watch = _watched(samples(6400, 1))
    assert not watch.signal.alarm
    assert watch.signal.since is None
    assert watch.signal.summary == "no drift in 6400 requests"
    assert math.isclose(sum(one.share_of_alpha for one in watch.signal.evidence), 1)


def test_longer_prompts_are_told_with_their_figures() -> None:
    watch = _watched(samples(640, 1), samples(640, 2, shift=1.5))
    assert "length" in _alarms(watch)
    assert watch.signal.alarm_of("inputs")
    length = next(one for one in watch.signal.evidence if one.name == "length")
    assert length.direction == "up"
    assert length.changed.startswith("prompts are longer: ")
    assert length.changed.endswith("in the reference")
    assert watch.signal.since is not None
    assert 500 <= watch.signal.since <= 700
    assert length.changed in watch.signal.summary
    assert json.loads(json.dumps(watch.signal.to_json()))["alarm"] is True


def test_failures_are_told_as_shares() -> None:
    watch = _watched(samples(640, 1), samples(320, 2, failing=0.3))
    assert _alarms(watch) == {"errors"}
    assert watch.signal.alarm_of("performance")
    assert not watch.signal.alarm_of("inputs")
    (told,) = (one.changed for one in watch.signal.evidence if one.alarm)
    assert told.startswith("more requests fail: ")
    assert told.endswith("% in the reference")


def test_slower_answers_and_later_labels_are_noticed() -> None:
    assert "latency" in _alarms(_watched(samples(320, 1), samples(320, 2, slow=3)))
    watch = _watched(samples(320, 1))
    for number in range(640):
        watch.correct(number % 3 == 0)
    assert _alarms(watch) == {"accuracy"}


def test_an_alarm_stays() -> None:
    watch = _watched(samples(320, 1), samples(320, 2, failing=1), samples(3200, 3))
    assert "errors" in _alarms(watch)


def test_evidence_is_the_same_however_often_it_is_looked_at() -> None:
    looked, watch = DriftWatch(_REFERENCE), DriftWatch(_REFERENCE)
    for one in samples(200, 1):
        looked.observe(one)
        assert looked.signal.requests == looked.signal.to_json()["requests"]
        watch.observe(one)
    assert looked.to_json() == watch.to_json()


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(1, 150), min_size=1, max_size=12))
def test_the_state_does_not_depend_on_how_many_requests_are_taken_together(counts: list[int]) -> None:
    made = samples(sum(counts), 12, shift=1.0)
    alone, together = DriftWatch(_REFERENCE), DriftWatch(_REFERENCE)
    taken = 0
    for count in counts:
        part = made[taken : taken + count]
        taken += count
        for one in part:
            alone.observe(one)
        together.observe_all(part)
        for watch in (alone, together):  # a label between them is no request, but has a place in a batch
            watch.correct(False)
        assert together.signal == alone.signal
    assert together.to_json() == alone.to_json()


@pytest.mark.parametrize("at", [0, 1, 31, 32, 333])
def test_a_stored_state_continues_exactly(at: int) -> None:
    watch = _watched(samples(at, 3))
    stored = json.loads(json.dumps(watch.to_json()))
    again = DriftWatch.from_json(stored, Reference.from_json(json.loads(json.dumps(_REFERENCE.to_json()))))
    assert again.to_json() == stored
    for one in samples(333, 4, shift=0.5):
        watch.observe(one)
        again.observe(one)
    assert again.to_json() == watch.to_json()
    assert again.signal == watch.signal


_NUMBERS = st.one_of(st.none(), st.floats(), st.floats(0, 1))
_SAMPLES = st.builds(
    Sample,
    ids=st.one_of(st.none(), st.lists(st.integers(-1, 1 << 70), max_size=5)),
    length=st.integers(-(1 << 60), 1 << 80),
    answer_length=st.integers(-1, 1 << 60),
    entropy=_NUMBERS,
    margin=_NUMBERS,
    seconds=_NUMBERS,
    first_seconds=_NUMBERS,
    failed=st.booleans(),
    correct=st.one_of(st.none(), st.booleans()),
    text=st.one_of(st.none(), st.text(max_size=20)),
)


@settings(deadline=None, max_examples=30)
@given(st.lists(_SAMPLES, max_size=70), st.integers(0, 70))
def test_any_requests_are_taken_and_a_state_continues_at_any_point(made: list[Sample], cut: int) -> None:
    watch = DriftWatch(_REFERENCE)
    for number, one in enumerate(made):
        if number == cut:
            watch = DriftWatch.from_json(json.loads(json.dumps(watch.to_json(), allow_nan=False)), _REFERENCE)
        watch.observe(one)
    straight = _watched(made)
    assert straight.to_json() == watch.to_json()
    assert all(math.isfinite(one.log10) for one in watch.signal.evidence)


def test_impossible_values_are_counted_in_the_signal() -> None:
    watch = _watched([Sample(length=5, seconds=-1.0)] * 32)
    assert watch.signal.ignored == {"latency.seconds": 32}


def test_a_state_for_another_reference_is_refused() -> None:
    stored = DriftWatch(reference()).to_json()
    with pytest.raises(InputError, match="another reference") as caught:
        DriftWatch.from_json(stored, _REFERENCE)
    assert "delete the stored state" in (caught.value.hint or "")


def _older(data: dict[str, Any]) -> None:
    data["format"] = "edgehone-drift-watch/0"


def _cut(data: dict[str, Any]) -> None:
    del data["wealth"]["cash"]


def _short(data: dict[str, Any]) -> None:
    data["counts"].pop()


def _other_random(data: dict[str, Any]) -> None:
    data["random"] = {"bit_generator": "MT19937"}


@pytest.mark.parametrize(
    ("damage", "says"),
    [(_older, "has the format"), (_cut, "is damaged"), (_short, "is damaged"), (_other_random, "is damaged")],
)
def test_an_older_or_damaged_state_is_refused(damage: Callable[[dict[str, Any]], None], says: str) -> None:
    data = copy.deepcopy(DriftWatch(_REFERENCE).to_json())
    damage(data)
    with pytest.raises(InputError, match=says):
        DriftWatch.from_json(data, _REFERENCE)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, math.nan])
def test_an_alpha_that_is_no_probability_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha is"):
        DriftWatch(_REFERENCE, alpha)


def test_a_change_of_languages_names_the_language() -> None:
    builder = ReferenceBuilder()
    english, french = "What is the best way to do this?", "Comment est-ce que je fais cela pour vous ?"
    for number in range(1600):
        builder.add(Sample(length=20, text=french if number % 20 == 0 else english), traffic=True)
    watch = DriftWatch(builder.build())
    for number in range(640):
        watch.observe(Sample(length=20, text=french if number % 2 == 0 else english))
    assert "language" in _alarms(watch)
    told = next(one.changed for one in watch.signal.evidence if one.name == "language")
    assert told == "languages changed: french in 50% of the last 64 requests, 5% in the reference"


def test_a_changed_combination_is_found_where_each_value_is_as_before() -> None:
    builder = ReferenceBuilder()
    for one in samples(1600, 5):
        assert one.entropy is not None
        builder.add(Sample(length=one.length, entropy=one.entropy, margin=1 - one.entropy), traffic=True)
    watch = DriftWatch(builder.build())
    entropies = [one.entropy or 0 for one in samples(640, 6)]
    for one, other in zip(samples(640, 7), entropies, strict=True):
        watch.observe(Sample(length=one.length, entropy=one.entropy, margin=1 - other))
    assert _alarms(watch) == {"joint"}
    assert watch.signal.alarm_of("joint")
