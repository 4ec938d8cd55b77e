"""The reference: what it needs, what it keeps, and that a stored one is read strictly."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from edgehone.core.errors import InputError
from edgehone.drift import DriftWatch, Reference, ReferenceBuilder, Sample
from edgehone.drift.reference import MOST
from tests.drift.traffic import reference, samples


def test_a_reference_returns_from_json_exactly() -> None:
    made = reference()
    again = Reference.from_json(json.loads(json.dumps(made.to_json())))
    assert again.to_json() == made.to_json()
    assert again.digest == made.digest


def test_reference_and_state_are_small_and_hold_no_prompt() -> None:
    secret = "the password of the administrator is hunter2"
    builder = ReferenceBuilder()
    for one in samples(200):
        builder.add(Sample(ids=[31_337, *(one.ids or ())], length=one.length, text=secret), traffic=True)
    made = builder.build()
    watch = DriftWatch(made)
    for one in samples(40, 1):
        watch.observe(Sample(ids=[31_337, *(one.ids or ())], length=one.length, text=secret))
    stored = json.dumps([made.to_json(), watch.to_json()])
    assert len(stored) < 5_000_000
    assert "hunter2" not in stored
    assert "31337" not in stored.replace(".31337", "")


@pytest.mark.parametrize("count", [0, 47])
def test_too_few_samples_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"at least 48 samples, but there are {count}"):
        reference(count)


def test_samples_that_tell_nothing_are_refused() -> None:
    builder = ReferenceBuilder()
    for _ in range(100):
        builder.add(Sample())
    with pytest.raises(InputError, match="too few tell anything but whether they failed"):
        builder.build()


def test_values_that_few_samples_know_are_not_watched() -> None:
    builder = ReferenceBuilder()
    for number, one in enumerate(samples(100)):
        builder.add(Sample(length=one.length, seconds=one.seconds if number < 20 else None))
    assert builder.build().names == ("length", "errors")


def test_a_constant_reference_is_one() -> None:
    builder = ReferenceBuilder()
    for _ in range(200):
        builder.add(Sample(features=(1.0, 2.0), entropy=0.5), traffic=True)
    watch = DriftWatch(builder.build())
    for _ in range(2000):
        watch.observe(Sample(features=(1.0, 2.0), entropy=0.5))
    assert not watch.signal.alarm
    for _ in range(200):
        watch.observe(Sample(features=(1.0, 3.0), entropy=0.5))
    assert [one.name for one in watch.signal.evidence if one.alarm] == ["features"]


def test_vectors_of_different_lengths_are_not_watched() -> None:
    builder = ReferenceBuilder()
    for number in range(100):
        builder.add(Sample(features=(1.0,) * (1 + number % 2), length=5))
    assert "features.0" not in builder.build().names


def test_further_samples_than_are_used_are_not_kept() -> None:
    builder = ReferenceBuilder()
    for _ in range(MOST + 10):
        builder.add(Sample(length=3))
    assert builder.full
    assert builder.count == MOST


def test_detectors_and_tolerances_are_chosen_by_name() -> None:
    builder = ReferenceBuilder()
    for one in samples(100):
        builder.add(one)
    made = builder.build(("length", "errors"), {"length": 0.1})
    assert made.names == ("length", "errors")
    assert made.tolerances == (0.1, 0.01)
    with pytest.raises(InputError, match="no drift detector 'lenght'") as caught:
        builder.build(("lenght",))
    assert "length" in (caught.value.hint or "")
    with pytest.raises(InputError, match="tolerance of the drift detector 'length'"):
        builder.build(None, {"length": 0.9})


def _drop(data: dict[str, Any]) -> None:
    del data["edges"]


def _shorten(data: dict[str, Any]) -> None:
    data["counts"].pop()


def _spoil(data: dict[str, Any]) -> None:
    data["counts"][0][0] = "many"


@pytest.mark.parametrize("damage", [_drop, _shorten, _spoil])
def test_a_damaged_reference_is_refused(damage: Any) -> None:
    data = copy.deepcopy(reference(100).to_json())
    damage(data)
    with pytest.raises(InputError, match="the drift reference is damaged"):
        Reference.from_json(data)


@pytest.mark.parametrize("data", [{}, {"format": "edgehone-drift-reference/0"}, None, [1]])
def test_another_format_is_refused(data: Any) -> None:
    with pytest.raises(InputError, match="the drift reference has the format"):
        Reference.from_json(data)
