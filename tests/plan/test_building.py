"""Predicted build time, memory and disk space, and what would fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgehone.backends.base import Recipe
from edgehone.model.inspect import inspect
from edgehone.plan import building
from edgehone.plan.building import Build, Resources

PLAIN = Recipe("llamacpp", "Q4_0", bits=4.5)


def test_build_seconds_come_from_shipped_constants_until_builds_are_timed() -> None:
    shipped = building.seconds(PLAIN, 10**9, [])
    assert shipped.predicted
    assert shipped.factor == pytest.approx(4.0)
    assert (shipped.value or 0) > (building.seconds(PLAIN, 10**7, []).value or 0)
    tuned = Recipe("llamacpp", "Q4_0+gptq", calibrated=True, bits=4.5)
    # How long learning from a text takes was not timed for larger models: it is unknown until it is timed here.
    assert "no calibrated build of llamacpp has been timed yet" in str(
        building.seconds(tuned, 10**9, []).reason
    )
    twice = [Build("llamacpp", False, 10**9, 2 * (shipped.value or 0))]
    seen = building.seconds(PLAIN, 10**9, twice)
    assert seen.value == pytest.approx(2 * (shipped.value or 0))
    assert seen.factor == pytest.approx(1.6)
    others = [Build("llamacpp", True, 10**9, 1e6), Build("openvino", False, 10**9, 1e6)]
    assert building.seconds(PLAIN, 10**9, others) == shipped


def test_seconds_of_an_unlisted_backend_come_from_its_timed_builds() -> None:
    unknown = Recipe("of-a-plugin", "small", bits=4.0)
    assert "no plain build of of-a-plugin" in str(building.seconds(unknown, 10**9, []).reason)
    seen = building.seconds(unknown, 4 * 10**9, [Build("of-a-plugin", False, 10**9, 10.0)])
    assert seen.value == pytest.approx(20.0)
    assert seen.low == pytest.approx(10.0)
    assert seen.high == pytest.approx(40.0)


def test_seconds_of_a_model_without_parameters() -> None:
    seen = [Build("of-a-plugin", False, 10**9, 10.0), Build("of-a-plugin", False, 0, 1.0)]
    unknown = Recipe("of-a-plugin", "small", bits=4.0)
    assert "the model has none" in str(building.seconds(unknown, 0, seen).reason)
    assert building.seconds(unknown, 10**9, seen).value == pytest.approx(10.0)
    assert (building.seconds(PLAIN, 0, []).value or 0) > 0


def test_backends_that_would_fit_are_listed(demo_model: Path) -> None:
    model = inspect(demo_model)
    needed = building.resources(model, [PLAIN, Recipe("openvino", "int8", bits=8.0)])
    assert needed.disk == sum(needed.by_backend.values())
    assert building.obstacles(needed, None, None) == []
    assert building.obstacles(needed, 10**12, 10**12) == []
    tight = building.obstacles(Resources(100, 50, {"a": 20, "b": 25, "c": 5}), 50, 30)
    assert "--backends a,c would fit" in tight[1]
