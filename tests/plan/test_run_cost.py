"""The cost of a run predicted before it starts, and plans that fit a time, a memory and a disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgehone.backends.base import Recipe
from edgehone.core.figure import Figure
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from edgehone.plan import build_time, building
from edgehone.plan.build_time import Processors
from edgehone.plan.expect import Expected
from edgehone.plan.run_cost import Costs, Measuring, RunLimits, fit, minutes, promised

MEASURING = Measuring(tokens=6144, rounds=5, budget=60.0, least_rounds=3, requests=lambda one: 3 * one)
COMPUTE = Figure(200.0, unit="GFLOP/s")
BILLION = 10**9


def billion(demo_model: Path, parameters: int = BILLION) -> ModelInfo:
    return replace(
        inspect(demo_model), parameters=parameters, bytes=2 * parameters, hidden_size=2048, layers=21,
        intermediate_size=5632,
    )  # fmt: skip


def expected(
    name: str, build: float | None = 10.0, *, backend: str = "llamacpp", calibrated: bool = False, bits: float = 4.5,
    exact: bool = False, operations: float = 0.0, shared: dict[str, float] | None = None,
) -> Expected:  # fmt: skip
    recipe = Recipe(
        backend,
        name,
        bits=bits,
        calibrated=calibrated,
        exact=exact,
        operations={"gptq": operations} if operations else {},
        effort="quick",
    )
    # Each is built from the conversion, which takes 10 s.
    parts = {"conversion": 10.0} if shared is None and build is not None else shared or {}
    seconds = Figure.missing("never timed", "s") if build is None else Figure.prediction(build, 2.0, "s")
    rate = Figure.prediction(200.0, 1.5, "tokens/s")
    size = Figure.prediction(bits * BILLION / 8, 1.2, "bytes")
    latency, times = (
        Figure.prediction(3000.0, 1.5, "ms"),
        {n: Figure.prediction(t, 2.0, "s") for n, t in parts.items()},
    )
    return Expected(recipe, size, size, rate, rate, latency, seconds, shared=times)


def costs(model: ModelInfo) -> Costs:
    return Costs(model, expected("original", 0.0, backend="pytorch", bits=16), MEASURING, COMPUTE)


EXACT = expected("F16", bits=16, exact=True)
PLAIN = expected("Q4_0", 25.0)
SLOW = expected("Q4_0+gptq", 900.0, calibrated=True, operations=1e14)
OTHER = expected("int8", backend="openvino", bits=8.0)
OTHER_EXACT = expected("fp16", backend="openvino", bits=16, exact=True)


def test_the_whole_is_the_sum_of_the_stages(demo_model: Path) -> None:
    cost = costs(billion(demo_model)).of([EXACT, PLAIN])
    assert set(cost.stages) == {"reference", "builds", "scores", "rounds", "tuning"}
    total = sum(one.value or 0 for one in cost.stages.values())
    assert cost.seconds.value == pytest.approx(total) and cost.seconds.predicted
    # Both need the conversion, which is the build of F16.
    assert cost.stages["builds"].value == pytest.approx(25.0)
    # 2 · 1e9 · 6144 operations at 60 % of 200 GFLOP/s are 102 s.
    assert 102 < (cost.stages["reference"].value or 0) < 120
    assert "of memory" in cost.sentence() and "minutes" in cost.sentence()
    more = costs(billion(demo_model)).of([EXACT, PLAIN, OTHER])
    assert (more.seconds.value or 0) > total and more.disk > cost.disk


def test_what_recipes_share_is_built_once(demo_model: Path) -> None:
    model = costs(billion(demo_model))
    both = {"conversion": 10.0, "imatrix": 100.0}
    weighted = [expected(name, 130.0, calibrated=True, shared=both) for name in ("a", "b", "c")]
    builds = model.of([EXACT, *weighted]).stages["builds"]
    assert builds.value == pytest.approx(10 + 100 + 3 * 20)
    assert (
        builds.value
        and builds.low == pytest.approx((10 + 100 + 3 * 20) / 2)
        and builds.high == pytest.approx(2 * (10 + 100 + 3 * 20))
    )
    # Another backend's conversion is another one, and so is that of a changed checkpoint.
    assert model.of([EXACT, OTHER_EXACT]).stages["builds"].value == pytest.approx(20)
    changed = replace(EXACT, recipe=replace(EXACT.recipe, surgery={"prune": 0.5}))
    assert model.of([EXACT, changed]).stages["builds"].value == pytest.approx(20)
    # A second one that needs the importance matrix adds its own part only, and that is its price.
    limit = (model.of([EXACT, weighted[0]]).seconds.value or 0) + 1
    found = fit(model, [EXACT, *weighted[:2]], [], "quick", RunLimits(seconds=limit))
    added = (model.of([EXACT, *weighted[:2]]).seconds.value or 0) - limit + 1
    assert f"it would take {added / 60:.1f} minutes" in found.left_out["llamacpp/b"]


def test_a_plain_file_and_its_gptq_recipe_are_quantized_once(demo_model: Path) -> None:
    model, here = billion(demo_model), Processors(COMPUTE, 2)
    plain = Recipe("llamacpp", "Q4_0", {"type": "Q4_0"}, bits=4.5)
    refined = replace(
        plain,
        name="Q4_0+gptq",
        build={**plain.build, "gptq": True},
        operations={"gptq": 1e13},
        calibrated=True,
    )
    drafted = replace(plain, name="drafted", build={"type": "Q8_0", "draft": plain.build})

    def builds(*recipes: Recipe) -> float:
        built = [build_time.predict(one, model, here, []) for one in recipes]
        made = [
            replace(expected(one.name), recipe=one, build=time.whole, shared=time.shared)
            for one, time in zip(recipes, built, strict=True)
        ]
        return costs(model).of(made).stages["builds"].value or 0.0

    known = build_time.predict(plain, model, here, [])
    quantized = next(one.value or 0.0 for name, one in known.shared.items() if name != "conversion")
    conversion = known.shared["conversion"].value or 0.0
    for other in (refined, drafted):
        assert builds(plain, other) == pytest.approx(builds(plain) + builds(other) - conversion - quantized)


def test_a_score_computes_the_output_layer_for_every_token(demo_model: Path) -> None:
    plain = costs(replace(billion(demo_model), vocabulary=0)).of([EXACT]).stages["scores"].value or 0
    quarter = replace(billion(demo_model), vocabulary=BILLION // 4 // 2048)
    # Two scores of 6144 tokens, of which the rate of prompts holds for three quarters of the weights.
    found = costs(quarter).of([EXACT]).stages["scores"].value or 0
    assert found - plain == pytest.approx(2 * 6144 / 200 / 3, rel=1e-3)


def test_the_reference_of_a_gguf_file_is_its_own_runtime(demo_model: Path) -> None:
    file = replace(billion(demo_model), format="gguf", vocabulary=0)
    known = Costs(
        file, expected("original", 0.0, backend="gguf"), MEASURING, Figure.missing("none", "GFLOP/s")
    )
    # 6144 tokens at 200 a second.
    assert known.of([EXACT]).stages["reference"].value == pytest.approx(6144 / 200 + 3)


def test_rounds_are_the_least_of_each_with_memory_and_a_contest_of_the_close_ones(demo_model: Path) -> None:
    model = billion(demo_model)
    small, large = (
        replace(costs(model), measuring=replace(MEASURING, budget=each)).of([EXACT]) for each in (0.0, 60.0)
    )
    # Loads of 3 s and of a second for each gigabyte, 9 s of requests in each round, and 3 s for the memory.
    loads = 2 * (3 + 2)
    assert small.stages["rounds"].value == pytest.approx(3 * (loads + 2 * 9) + loads + 2 * 3)
    assert (large.stages["rounds"].value or 0) - (small.stages["rounds"].value or 0) == pytest.approx(
        2 * (loads + 18)
    )


def test_tuning_takes_its_budget(demo_model: Path) -> None:
    model = costs(billion(demo_model))
    tuned = replace(model, measuring=replace(MEASURING, tuning=100.0)).of([EXACT])
    assert (tuned.seconds.value or 0) == pytest.approx((model.of([EXACT]).seconds.value or 0) + 100)
    assert (tuned.stages["tuning"].high or 0) > 100 > (tuned.stages["tuning"].low or 0)
    assert model.of([EXACT]).stages["tuning"].value == 0


def test_the_time_of_the_reference_corrects_builds_and_scores(demo_model: Path) -> None:
    cost = costs(billion(demo_model)).of([EXACT, PLAIN])
    taken = 2 * (cost.stages["reference"].value or 0)
    again = cost.after_reference(taken)
    assert again.stages["reference"].value == taken and not again.stages["reference"].predicted
    for name in ("builds", "scores"):
        assert again.stages[name].value == pytest.approx(2 * (cost.stages[name].value or 0))
        assert again.stages[name].high == pytest.approx(2 * (cost.stages[name].high or 0))
    assert again.stages["rounds"] == cost.stages["rounds"]
    assert again.seconds.value == pytest.approx(sum(one.value or 0 for one in again.stages.values()))
    unknown = Costs(billion(demo_model), EXACT, MEASURING, Figure.missing("not measured", "GFLOP/s")).of(
        [EXACT]
    )
    assert unknown.after_reference(taken) == unknown


def test_a_build_that_was_never_timed_is_named(demo_model: Path) -> None:
    cost = costs(billion(demo_model)).of([EXACT, expected("odd", None)])
    assert cost.unknown == ("llamacpp/odd",) and "never timed" in cost.sentence()


def test_recipes_beyond_the_promise_are_left_for_more_effort(demo_model: Path) -> None:
    spare = [
        expected("Q4_K_M", bits=4.9),
        expected("Q8_0", bits=8.5),
        expected("Q4_1+imatrix", calibrated=True),
    ]
    found = fit(costs(billion(demo_model)), [EXACT, SLOW, PLAIN], spare, "quick", RunLimits(seconds=600))
    keys = [one.recipe.name for one in found.expected]
    # In place of the slow one comes the nearest in bits that needs no calibration.
    assert keys == ["F16", "Q4_0", "Q4_K_M"]
    assert "--effort normal or --time: it would take" in found.left_out["llamacpp/Q4_0+gptq"]
    assert "of the 10 minutes that --effort quick promises" in found.left_out["llamacpp/Q4_0+gptq"]
    assert (found.cost.seconds.value or 0) <= 600
    all_of_them = fit(
        costs(billion(demo_model)), [EXACT, SLOW, PLAIN], spare, "normal", RunLimits(seconds=3600)
    )
    assert not all_of_them.left_out and len(all_of_them.expected) == 3


def test_small_models_and_no_promise_leave_nothing_out(demo_model: Path) -> None:
    small = costs(billion(demo_model, 4_000_000))
    assert not fit(small, [EXACT, SLOW], [], "quick", RunLimits(seconds=60)).left_out
    large = costs(billion(demo_model))
    assert not fit(large, [EXACT, SLOW, expected("odd", None)], [], "thorough", RunLimits()).left_out


def test_a_build_of_unknown_time_is_left_out_of_a_promise(demo_model: Path) -> None:
    found = fit(
        costs(billion(demo_model)), [EXACT, expected("odd", None)], [], "quick", RunLimits(seconds=600)
    )
    assert found.left_out["llamacpp/odd"] == "left for --effort normal or --time: never timed"


def test_memory_and_disk_leave_out_whole_backends(demo_model: Path) -> None:
    wanted = [EXACT, PLAIN, OTHER_EXACT, OTHER]
    # OpenVINO's export holds the whole model in 16 bits, llama.cpp's converter a matrix at a time.
    found = fit(costs(billion(demo_model)), wanted, [], "quick", RunLimits(memory=2 * BILLION))
    assert [one.recipe.backend for one in found.expected] == ["llamacpp", "llamacpp"]
    assert "of memory, and 2 GB may be used" in found.left_out["openvino/fp16"]
    assert "unquantized conversion" in found.left_out["openvino/int8"]
    assert found.cost.memory <= 2 * BILLION
    tight = fit(costs(billion(demo_model)), wanted, [], "quick", RunLimits(disk=6 * BILLION))
    assert tight.cost.disk <= 6 * BILLION and tight.left_out
    nothing = fit(costs(billion(demo_model)), wanted, [], "quick", RunLimits(disk=1000))
    assert not nothing.expected


def test_memory_counts_what_running_an_artifact_holds(demo_model: Path) -> None:
    model = replace(billion(demo_model, 8 * BILLION), layers=32, hidden_size=4096)
    large = expected("Q4_0", bits=4.5 * 8)  # of 8 billion parameters
    mapped = expected("F16", bits=16 * 8, exact=True)
    whole = costs(model).of([mapped, large])
    assert whole.memory == large.memory.value == 4.5 * BILLION
    assert costs(model).of([mapped]).memory < 3 * BILLION  # llama.cpp maps its 16 GB
    found = fit(costs(model), [mapped, large], [], "quick", RunLimits(memory=4 * BILLION))
    assert found.left_out["llamacpp/Q4_0"] == "running it needs 4.5 GB of memory, and 4 GB may be used"
    assert found.cost.memory <= 4 * BILLION
    as_is = expected("as-is", bits=4.5, exact=True)  # a quantized file is copied as a quantized artifact is
    as_is = replace(as_is, memory=large.memory)
    assert costs(model).of([as_is]).memory == large.memory.value
    copied = replace(mapped, recipe=replace(mapped.recipe, backend="olive"))
    assert costs(model).of([copied]).memory >= 16 * BILLION


def test_one_quantized_recipe_is_kept_even_beyond_the_promise(demo_model: Path) -> None:
    found = fit(
        costs(billion(demo_model)),
        [EXACT, SLOW, PLAIN, OTHER_EXACT, OTHER],
        [],
        "quick",
        RunLimits(seconds=60),
    )
    assert len(found.expected) == 2 and {one.recipe.exact for one in found.expected} == {True, False}
    assert not any(one.recipe.calibrated for one in found.expected)
    small = RunLimits(seconds=60, memory=1000)
    assert not fit(costs(billion(demo_model)), [EXACT, PLAIN], [], "quick", small).expected


def test_backends_take_turns(demo_model: Path) -> None:
    many = [expected(f"q{at}", 60.0, bits=4 + at / 10) for at in range(6)]
    wanted = [EXACT, *many, OTHER_EXACT, OTHER]
    found = fit(costs(billion(demo_model)), wanted, [], "quick", RunLimits(seconds=800))
    assert "openvino/int8" in {one.recipe.key for one in found.expected} and found.left_out


def test_a_backend_of_which_only_the_conversion_fits_is_left_out(demo_model: Path) -> None:
    wanted = [EXACT, PLAIN, OTHER_EXACT, expected("int4+gptq", None, backend="openvino")]
    found = fit(costs(billion(demo_model)), wanted, [], "quick", RunLimits(seconds=600))
    assert [one.recipe.key for one in found.expected] == ["llamacpp/F16", "llamacpp/Q4_0"]
    assert "quantized recipes fits" in found.left_out["openvino/fp16"]
    assert "never timed" in found.left_out["openvino/int4+gptq"]


def test_backends_are_left_out_until_each_has_a_quantized_recipe(demo_model: Path) -> None:
    third = [
        replace(
            expected(name, 10.0, backend="olive", exact=exact), latency=Figure.prediction(9000.0, 1.5, "ms")
        )
        for name, exact in (("fp32", True), ("int8", False))
    ]
    # How long runs of the fourth take is not known, so nothing seems too long while it is among them.
    unknown = [
        replace(expected(name, None, backend="mlx", exact=exact), prefill=Figure.missing("none", "tokens/s"))
        for name, exact in (("float", True), ("q4", False))
    ]
    model = costs(billion(demo_model))
    two = [EXACT, PLAIN, OTHER_EXACT, OTHER]
    limit = RunLimits(seconds=(model.of(two).seconds.value or 0) + 1)
    found = fit(model, [*two, *third, *unknown], [], "quick", limit)
    # In the time of the third backend's conversion the second one has a quantized recipe.
    assert {one.recipe.key for one in found.expected} == {one.recipe.key for one in two}
    assert found.left_out.keys() == {one.recipe.key for one in (*third, *unknown)}
    assert "it would take" in found.left_out["olive/int8"] and "never timed" in found.left_out["mlx/q4"]
    assert "quantized recipes fits" in found.left_out["olive/fp32"]


def test_promises_grow_with_the_model(demo_model: Path) -> None:
    assert promised(600, billion(demo_model)) == 600
    assert promised(600, billion(demo_model, 3 * BILLION)) == 1800
    assert promised(600, billion(demo_model, BILLION // 10)) == 600
    assert promised(0, billion(demo_model)) is None
    assert minutes(Figure.prediction(720.0, 2.0, "s")) == "12 minutes (6 to 24)"


@settings(max_examples=40, deadline=None)
@given(
    builds=st.lists(st.floats(1, 2000), min_size=1, max_size=8),
    seconds=st.floats(300, 4000),
    memory=st.integers(10**8, 10**11),
)
def test_a_fitted_plan_keeps_its_limits(builds: list[float], seconds: float, memory: int) -> None:
    demo = Path(__file__).parents[2] / "src/edgehone/data/demo-model"
    wanted = [EXACT, *(expected(f"q{at}", one, calibrated=at % 2 == 1) for at, one in enumerate(builds))]
    found = fit(costs(billion(demo)), wanted, [], "quick", RunLimits(seconds, memory))
    kept = {one.recipe.key for one in found.expected}
    assert kept | set(found.left_out) == {one.recipe.key for one in wanted} and not kept & set(found.left_out)
    if len(kept - {EXACT.recipe.key}) > 1:  # one is kept in any case
        assert (found.cost.seconds.value or 0) <= seconds
    assert found.cost.memory <= max(memory, costs(billion(demo)).of([EXACT]).memory)
    assert all(reason for reason in found.left_out.values())


def test_builds_that_run_side_by_side_take_their_memory_together(demo_model: Path) -> None:
    model = billion(demo_model)
    two = [expected(name, calibrated=True, operations=1e13) for name in ("Q4_0+gptq", "Q4_K_M+gptq")]
    one_by_one = costs(model)
    pair = replace(one_by_one, at_once=2)
    assert pair.of([EXACT, *two]).memory == 2 * one_by_one.of([EXACT, *two]).memory
    assert pair.of([EXACT, two[0]]).memory < pair.of([EXACT, *two]).memory
    assert one_by_one.of([EXACT, two[0]]).memory == one_by_one.of([EXACT, *two]).memory


@pytest.mark.parametrize(
    ("threads", "memory", "count"),
    [(2, 13 * BILLION, 2), (2, 6 * BILLION, 1), (8, 99 * BILLION, 4), (1, 0, 1)],
)
def test_as_many_builds_run_at_a_time_as_there_are_threads_and_memory_for(
    demo_model: Path, threads: int, memory: int, count: int
) -> None:
    assert building.at_once(billion(demo_model), threads, memory) == count
