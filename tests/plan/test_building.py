"""Predicted build time, memory and disk space, and what would fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.backends import registry
from edgehone.backends.base import Recipe
from edgehone.core.figure import Figure
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from edgehone.plan import building, roofline_data
from edgehone.plan.building import Build, Resources

PLAIN = Recipe("llamacpp", "Q4_0", bits=4.5)
HERE = building.Processors(Figure(100.0, unit="GFLOP/s"), threads=2)


def sized(demo_model: Path, parameters: int) -> ModelInfo:
    return replace(inspect(demo_model), parameters=parameters)


def test_build_seconds_come_from_shipped_constants_until_builds_are_timed(demo_model: Path) -> None:
    model = sized(demo_model, 10**9)
    shipped = building.seconds(PLAIN, model, HERE, [])
    assert shipped.predicted
    assert shipped.factor == pytest.approx(4.0)
    assert (shipped.value or 0) > (building.seconds(PLAIN, sized(demo_model, 10**7), HERE, []).value or 0)
    tuned = Recipe("openvino", "int4+gptq", calibrated=True, bits=4.5)
    # How long learning from a text takes was not timed for larger models: it is unknown until it is timed here.
    assert "no calibrated build of openvino has been timed yet" in str(
        building.seconds(tuned, model, HERE, []).reason
    )
    twice = [Build("llamacpp", False, 10**9, 2 * (shipped.value or 0))]
    seen = building.seconds(PLAIN, model, HERE, twice)
    assert seen.value == pytest.approx(2 * (shipped.value or 0))
    assert seen.factor == pytest.approx(1.6)
    others = [Build("llamacpp", True, 10**9, 1e6), Build("openvino", False, 10**9, 1e6)]
    assert building.seconds(PLAIN, model, HERE, others) == shipped


def test_counted_arithmetic_takes_its_time_at_this_machines_rate(demo_model: Path) -> None:
    model = sized(demo_model, 10**9)
    tuned = Recipe("llamacpp", "Q4_0+gptq", calibrated=True, bits=4.5, operations=1e13)
    plain = building.seconds(PLAIN, model, HERE, []).value or 0
    found = building.seconds(tuned, model, HERE, [])
    slow = building.seconds(tuned, model, replace(HERE, rate=Figure(50.0, unit="GFLOP/s")), [])
    assert (slow.value or 0) - plain == pytest.approx(2 * ((found.value or 0) - plain))
    unknown = building.seconds(tuned, model, replace(HERE, rate=Figure.missing("no rate", "GFLOP/s")), [])
    assert "no calibrated build of llamacpp" in str(unknown.reason)


def test_seconds_of_an_unlisted_backend_come_from_its_timed_builds(demo_model: Path) -> None:
    unknown, model = Recipe("of-a-plugin", "small", bits=4.0), sized(demo_model, 4 * 10**9)
    assert "no plain build of of-a-plugin" in str(building.seconds(unknown, model, HERE, []).reason)
    seen = building.seconds(unknown, model, HERE, [Build("of-a-plugin", False, 10**9, 10.0)])
    assert seen.value == pytest.approx(20.0)
    assert seen.low == pytest.approx(10.0)
    assert seen.high == pytest.approx(40.0)
    # At least a quarter of the time grows with the parameters, so the interval stops growing.
    far = building.seconds(
        unknown, sized(demo_model, 256 * 10**9), HERE, [Build("of-a-plugin", False, 10**9, 10.0)]
    )
    assert far.low == pytest.approx(640.0) and far.high == pytest.approx(2560.0)
    less = building.seconds(
        unknown, sized(demo_model, 10**6), HERE, [Build("of-a-plugin", False, 10**9, 1000.0)]
    )
    assert less.low == pytest.approx(1.0) and less.high == pytest.approx(4.0)


def test_seconds_of_a_model_without_parameters(demo_model: Path) -> None:
    seen = [Build("of-a-plugin", False, 10**9, 10.0), Build("of-a-plugin", False, 0, 1.0)]
    unknown, none = Recipe("of-a-plugin", "small", bits=4.0), sized(demo_model, 0)
    assert "the model has none" in str(building.seconds(unknown, none, HERE, []).reason)
    assert building.seconds(unknown, sized(demo_model, 10**9), HERE, seen).value == pytest.approx(10.0)
    assert (building.seconds(PLAIN, none, HERE, []).value or 0) > 0


def test_builds_that_stream_the_model_need_memory_for_two_blocks(demo_model: Path) -> None:
    model = sized(demo_model, 8 * 10**9)
    model = replace(model, hidden_size=4096, intermediate_size=14336, layers=32, vocabulary=128256)
    tuned = replace(PLAIN, calibrated=True, operations=1e13)
    whole = building.memory(Recipe("openvino", "int8"), model)
    assert whole > 16e9 and building.memory(PLAIN, model) < building.memory(tuned, model) < 8e9
    assert building.memory(tuned, replace(model, layers=64)) < building.memory(tuned, model)


def test_backends_that_would_fit_are_listed(demo_model: Path) -> None:
    model = inspect(demo_model)
    needed = building.resources(model, [PLAIN, Recipe("openvino", "int8", bits=8.0)])
    assert needed.disk == sum(needed.by_backend.values())
    assert building.obstacles(needed, None, None) == []
    assert building.obstacles(needed, 10**12, 10**12) == []
    tight = building.obstacles(Resources(100, 50, {"a": 20, "b": 25, "c": 5}), 50, 30)
    assert "--backends a,c would fit" in tight[1]


def of_type(kind: str, weighted: bool = False, backend: str = "llamacpp") -> Recipe:
    build = {"type": kind, "imatrix": True} if weighted else {"type": kind}
    return Recipe(backend, kind, build if backend == "llamacpp" else {"mode": kind}, bits=4.5)


def test_types_take_the_time_of_their_rounding(demo_model: Path) -> None:
    """The order of the measured times: plain blocks, K types, weighted errors, tables of values, searched groups."""
    model = sized(demo_model, 10**9)
    recipes = [
        of_type("Q4_0"), of_type("Q4_K_M"), of_type("Q4_K_M", True), of_type("IQ4_XS"), of_type("IQ3_XXS", True),
        of_type("IQ2_XS", True),
    ]  # fmt: skip
    found = [building.seconds(one, model, HERE, []).value or 0 for one in recipes]
    assert found == sorted(found) and len(set(found)) == len(found)
    slow, fast = of_type("IQ2_XS", True), of_type("Q4_0")
    one_thread = replace(HERE, threads=1)
    ratio = (building.seconds(slow, model, one_thread, []).value or 0) / found[-1]
    assert 1.8 < ratio < 2.0  # the threads share the rounding, but not the conversion
    # Builds of one type correct those of another by the ratio of their times.
    timed = [Build("llamacpp", False, 10**9, 2 * found[0], "Q4_0")]
    assert building.seconds(slow, model, HERE, timed).value == pytest.approx(2 * found[-1])
    assert building.seconds(fast, model, HERE, timed).value == pytest.approx(2 * found[0])


@pytest.mark.parametrize("backend", ["llamacpp", "openvino"])
def test_the_times_of_all_types_that_recipes_have_are_known(demo_model: Path, backend: str) -> None:
    known = roofline_data.table()["building"]["rounding"][backend]
    model = sized(demo_model, 10**9)
    made = registry.load(backend).recipes(replace(model, hidden_size=2048, intermediate_size=5632))
    plain = {building.rounded_to(one.build) for one in made if not one.exact and not one.build.get("mix")}
    assert plain - {None} <= known.keys() | {"Q4_K_S+imatrix"} and all(value > 0 for value in known.values())


def test_what_a_build_rounds_to_is_read_from_it() -> None:
    assert building.rounded_to({"type": "Q4_0", "imatrix": True}) == "Q4_0+imatrix"
    assert building.rounded_to({"mode": "int8_asym", "group_size": 64}) == "int8_asym"
    assert building.rounded_to({"source": "gguf"}) is None
