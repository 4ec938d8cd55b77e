"""Predicted build times: what a build is charged for is what its steps do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.backends import registry
from edgehone.backends.base import Recipe, Step
from edgehone.backends.llamacpp import recipes as llamacpp_recipes
from edgehone.backends.llamacpp.gptq_work import calibration_operations, calibration_tokens
from edgehone.core.figure import Figure
from edgehone.model.info import LargeTensor, ModelInfo
from edgehone.model.inspect import inspect
from edgehone.plan import build_time, roofline_data
from edgehone.plan.build_time import Build, BuildTime

PLAIN = Recipe("llamacpp", "Q4_0", {"type": "Q4_0"}, bits=4.5)
HERE = build_time.Processors(Figure(100.0, unit="GFLOP/s"), threads=2)


def sized(demo_model: Path, parameters: int) -> ModelInfo:
    return replace(inspect(demo_model), parameters=parameters)


def seconds(recipe: Recipe, model: ModelInfo, here: build_time.Processors, history: list[Build]) -> Figure:
    return build_time.predict(recipe, model, here, history).whole


def test_build_seconds_come_from_shipped_constants_until_builds_are_timed(demo_model: Path) -> None:
    model = sized(demo_model, 10**9)
    shipped = seconds(PLAIN, model, HERE, [])
    assert shipped.predicted
    assert shipped.factor == pytest.approx(4.0)
    assert (shipped.value or 0) > (seconds(PLAIN, sized(demo_model, 10**7), HERE, []).value or 0)
    tuned = Recipe("openvino", "int4+gptq", calibrated=True, bits=4.5)
    # How long learning from a text takes was not timed for larger models: it is unknown until it is timed here.
    assert "no calibrated build of openvino has been timed yet" in str(seconds(tuned, model, HERE, []).reason)
    twice = [Build("llamacpp", False, 10**9, 2 * (shipped.value or 0), "Q4_0")]
    seen = seconds(PLAIN, model, HERE, twice)
    assert seen.value == pytest.approx(2 * (shipped.value or 0))
    assert seen.factor == pytest.approx(1.6)
    others = [Build("llamacpp", True, 10**9, 1e6), Build("openvino", False, 10**9, 1e6)]
    assert seconds(PLAIN, model, HERE, others) == shipped


def test_counted_arithmetic_takes_its_time_at_this_machines_rate(demo_model: Path) -> None:
    model = sized(demo_model, 10**9)
    tuned = replace(PLAIN, calibrated=True, operations={"gptq": 1e13})
    found = seconds(tuned, model, HERE, [])
    slow = seconds(tuned, model, replace(HERE, rate=Figure(50.0, unit="GFLOP/s")), [])
    # 1e13 operations at half of 100 GFLOP/s take 200 s, and at half of 50 twice as long.
    assert (slow.value or 0) - (found.value or 0) == pytest.approx(200)
    assert (found.value or 0) > 200 + (seconds(PLAIN, model, HERE, []).value or 0)
    unknown = seconds(tuned, model, replace(HERE, rate=Figure.missing("no rate", "GFLOP/s")), [])
    assert "no calibrated build of llamacpp" in str(unknown.reason)


def test_seconds_of_an_unlisted_backend_come_from_its_timed_builds(demo_model: Path) -> None:
    unknown, model = Recipe("of-a-plugin", "small", bits=4.0), sized(demo_model, 4 * 10**9)
    assert "no plain build of of-a-plugin" in str(seconds(unknown, model, HERE, []).reason)
    seen = seconds(unknown, model, HERE, [Build("of-a-plugin", False, 10**9, 10.0)])
    assert seen.value == pytest.approx(20.0)
    assert seen.low == pytest.approx(10.0)
    assert seen.high == pytest.approx(40.0)
    # At least a quarter of the time grows with the parameters, so the interval stops growing.
    far = seconds(unknown, sized(demo_model, 256 * 10**9), HERE, [Build("of-a-plugin", False, 10**9, 10.0)])
    assert far.low == pytest.approx(640.0) and far.high == pytest.approx(2560.0)
    less = seconds(unknown, sized(demo_model, 10**6), HERE, [Build("of-a-plugin", False, 10**9, 1000.0)])
    assert less.low == pytest.approx(1.0) and less.high == pytest.approx(4.0)


def test_seconds_of_a_model_without_parameters(demo_model: Path) -> None:
    seen = [Build("of-a-plugin", False, 10**9, 10.0), Build("of-a-plugin", False, 0, 1.0)]
    unknown, none = Recipe("of-a-plugin", "small", bits=4.0), sized(demo_model, 0)
    assert "the model has none" in str(seconds(unknown, none, HERE, []).reason)
    assert seconds(unknown, sized(demo_model, 10**9), HERE, seen).value == pytest.approx(10.0)
    assert (seconds(PLAIN, none, HERE, []).value or 0) > 0


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
    found = [seconds(one, model, HERE, []).value or 0 for one in recipes]
    assert found == sorted(found) and len(set(found)) == len(found)
    slow, fast = of_type("IQ2_XS", True), of_type("Q4_0")
    one_thread = replace(HERE, threads=1)
    ratio = (seconds(slow, model, one_thread, []).value or 0) / found[-1]
    assert 1.8 < ratio < 2.0  # the threads share the rounding, but not the conversion
    # Builds of one type correct those of another by the ratio of their times.
    timed = [Build("llamacpp", False, 10**9, 2 * found[0], "Q4_0")]
    assert seconds(slow, model, HERE, timed).value == pytest.approx(2 * found[-1])
    assert seconds(fast, model, HERE, timed).value == pytest.approx(2 * found[0])


@pytest.mark.parametrize("backend", ["llamacpp", "openvino"])
def test_the_times_of_all_types_that_recipes_have_are_known(demo_model: Path, backend: str) -> None:
    known = roofline_data.table()["building"]["rounding"][backend]
    model = sized(demo_model, 10**9)
    made = registry.load(backend).recipes(replace(model, hidden_size=2048, intermediate_size=5632))
    rounded = {build_time.rounded_to(one.build) for one in made if not one.exact} - {None}
    assert rounded <= known.keys() and all(value > 0 for value in known.values())


def models(demo_model: Path) -> Iterator[ModelInfo]:
    """A checkpoint, and GGUF files of floats and of quantized weights, of a billion parameters."""
    large = replace(
        sized(demo_model, 10**9),
        hidden_size=2048,
        intermediate_size=5632,
        layers=21,
        heads=16,
        files=("model",),
    )
    yield large
    large = replace(large, format="gguf", architecture="llama")
    yield replace(large, dtypes={"F16": 10**9, "F32": 10**5}, bytes=2 * 10**9)
    embedding = LargeTensor("token_embd.weight", "Q8_0", 10**8, 2048, 106_250_000)
    yield replace(
        large, dtypes={"Q5_K": 9 * 10**8, "Q8_0": 10**8, "F32": 10**5}, bytes=725 * 10**6,
        large_tensors=(embedding,),
    )  # fmt: skip


def steps_of(step: Step) -> Iterator[Step]:
    yield step
    for one in step.inputs.values():
        yield from steps_of(one)


@pytest.mark.parametrize("name", ["llamacpp", "openvino", "olive"])
@pytest.mark.parametrize("kind", range(3))
def test_a_recipe_is_charged_for_what_its_build_does(demo_model: Path, name: str, kind: int) -> None:
    backend, model = registry.load(name), list(models(demo_model))[kind]
    made = list(backend.recipes(model)) if backend.supports(model).ok else []
    if kind == 0 and name == "llamacpp":
        made += backend.adapter_recipes(model)  # type: ignore[attr-defined]
    assert made or (kind, name) != (0, name)
    for recipe in made:
        steps = list(steps_of(backend.steps(recipe)))
        found = build_time.predict(recipe, model, HERE, [])
        calls = {one.call.partition(":")[2] for one in steps}
        converted = any({"model", "base"} & set(one.reads) and not one.links for one in steps)
        assert build_time.converts(recipe.build) == converted, recipe.key
        if name == "llamacpp":
            counted = {"imatrix": "imatrix" in calls, "gptq": "refine" in calls}
            counted["sensitivity"] = any("sensitivity" in one.reads for one in steps)
            assert recipe.operations.keys() == {part for part, done in counted.items() if done}, recipe.key
            # What several recipes share is charged once in a run (`run_cost`).
            made_first = ["conversion"] if converted else ["checkpoint"] if "write" in calls else []
            other = {one for one in found.shared if not one.startswith(build_time.QUANTIZATION)}
            assert other == {*recipe.operations, *made_first} - {"gptq"}
        if name == "llamacpp" or not recipe.calibrated:
            works = bool(calls & {"quantize", "compress"})
            assert works == bool(charged(found)) or name == "olive", recipe.key


def charged(found: BuildTime) -> set[str]:
    """The quantizations that a build is charged for."""
    return {name for name in found.shared if name.startswith(build_time.QUANTIZATION)}


@pytest.mark.parametrize("name", ["llamacpp", "openvino", "mlx"])
@pytest.mark.parametrize("kind", range(3))
def test_equal_quantizations_have_one_name_and_others_do_not(demo_model: Path, name: str, kind: int) -> None:
    """As equal steps are built once: the plain file of a GPTQ recipe and of its plain recipe, a model and its draft."""
    backend, model = registry.load(name), list(models(demo_model))[kind]
    made = list(backend.recipes(model)) if backend.supports(model).ok else []
    named: dict[str, str] = {}
    for recipe in made:
        calls = ("quantize", "compress")
        steps = {repr(one) for one in steps_of(backend.steps(recipe)) if one.call.partition(":")[2] in calls}
        names = build_time.quantized(recipe)
        assert len(names) == len(steps) == (0 if recipe.exact else 2 if "draft" in recipe.build else 1)
        for one in steps & named.keys():
            assert named[one] in names, recipe.key
        known = {named[one] for one in steps & named.keys()}
        assert not {*names} & {*named.values()} - known, recipe.key
        named |= dict(zip(sorted(steps - named.keys()), sorted({*names} - known), strict=True))
    if (name, kind) == ("llamacpp", 0):
        assert len(named) < sum(len(build_time.quantized(one)) for one in made)


def test_an_importance_matrix_reads_as_much_of_the_text_at_any_size_but_more_for_experts(
    demo_model: Path,
) -> None:
    build = {"type": "Q4_0", "imatrix": True}
    for parameters in (10**6, 10**8, 10**9):
        model = sized(demo_model, parameters)
        dense, mixed = (
            calibration_operations(build, one, 4.5)["imatrix"] for one in (model, replace(model, experts=8))
        )
        assert dense == 2 * parameters * 8192
        assert mixed == 2 * parameters * calibration_tokens(parameters)


def test_only_the_tensors_that_are_lowered_are_charged(demo_model: Path) -> None:
    *_, file = models(demo_model)
    made = {one.name: one for one in registry.load("llamacpp").recipes(file)}
    one, whole = (seconds(made[name], file, HERE, []).value or 0 for name in ("token_embd-q4_K", "all-4bit"))
    rounding = roofline_data.table()["building"]["rounding"]["llamacpp"]["Q4_K_S"]
    assert whole - one == pytest.approx(rounding * 0.9 / 2)


def test_mixes_of_few_bits_take_the_time_of_types_with_tables(demo_model: Path) -> None:
    model = sized(demo_model, 3 * 10**8)
    backend = registry.load("llamacpp")
    slow = roofline_data.table()["building"]["slow_mixes"]["llamacpp"]
    mixes = {one.build["mix"]["bits"]: one for one in backend.recipes(model) if "mix" in one.build}

    def rounding(bits: float, of: ModelInfo) -> float:
        plain = replace(mixes[bits], operations={}, calibrated=False)
        return seconds(plain, of, HERE, []).value or 0.0

    few, many = min(mixes), max(mixes)
    assert few < slow["below"] < many
    assert rounding(few, model) > rounding(many, model) + 20
    large = sized(demo_model, int(slow["most"]) + 1)
    assert rounding(few, large) == pytest.approx(rounding(many, large))
    # The limits are those of the types.
    limited = [one for one in llamacpp_recipes.precision_table()["menu"] if "below" in one]
    assert limited and {(one["below"], one["most"]) for one in limited} == {(slow["below"], slow["most"])}


def test_a_split_file_is_joined(demo_model: Path) -> None:
    _, file, _ = models(demo_model)
    as_is = registry.load("llamacpp").recipes(file)[0]
    assert seconds(as_is, file, HERE, []).value == 0
    assert (seconds(as_is, replace(file, files=("a", "b")), HERE, []).value or 0) > 1


def test_a_draft_is_a_second_quantization(demo_model: Path) -> None:
    model = sized(demo_model, 10**9)
    drafted = replace(PLAIN, build={"type": "Q8_0", "draft": {"type": "Q4_0"}})
    both = [replace(PLAIN, build={"type": kind}) for kind in ("Q8_0", "Q4_0")]
    conversion = build_time.predict(PLAIN, model, HERE, []).shared["conversion"].value or 0
    apart = sum(seconds(one, model, HERE, []).value or 0 for one in both)
    assert seconds(drafted, model, HERE, []).value == pytest.approx(apart - conversion)


def test_timed_builds_of_gguf_files_were_not_conversions(demo_model: Path) -> None:
    model = sized(demo_model, 10**9)
    file = replace(PLAIN, build={"type": "Q4_K_M", "source": "gguf"})
    shipped = seconds(file, model, HERE, []).value or 0
    timed = [Build("llamacpp", False, 10**9, 2 * shipped, "Q4_K_M", converted=False)]
    assert seconds(file, model, HERE, timed).value == pytest.approx(2 * shipped)
    exact = Recipe("llamacpp", "F16", {"type": "F16"}, exact=True)
    converted = [Build("llamacpp", False, 10**9, 3 * (seconds(exact, model, HERE, []).value or 0), "F16")]
    assert seconds(file, model, HERE, converted).value == pytest.approx(3 * shipped)


def test_what_a_build_rounds_to_is_read_from_it() -> None:
    assert build_time.rounded_to({"type": "Q4_0", "imatrix": True}) == "Q4_0+imatrix"
    assert build_time.rounded_to({"mode": "int8_asym", "group_size": 64}) == "int8_asym"
    assert build_time.rounded_to({"source": "gguf"}) is None
