"""Recommendations: order and reasons, predicted figures, and resources of builds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from edgehone.backends import registry
from edgehone.backends.base import Recipe, ReferenceBackend
from edgehone.backends.mlx import backend
from edgehone.core.errors import InputError, ModelError
from edgehone.core.figure import Figure
from edgehone.device import catalogue
from edgehone.inputs import workload
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from edgehone.plan import matrix, roofline
from edgehone.plan.expect import Known, expect
from edgehone.plan.recommend import Fitting, Recommendation, recommend
from edgehone.plan.run_cost import Fitted, Measuring, RunLimits
from edgehone.plan.target import PredictionTarget

CHAT = workload.load("chat")
PI = PredictionTarget.from_catalogue(catalogue.shipped()["raspberry-pi-5"])
HERE = PredictionTarget(
    "this machine",
    "cross_platform",
    ("avx2", "avx512_vnni"),
    2,
    24_000_000_000,
    Figure(42.0, n=9, unit="GB/s"),
    Figure(217.0, n=9, unit="GFLOP/s"),
    Figure.missing("none", "GFLOP/s"),
    clock_ghz=2.6,
    last_cache=32 << 20,
)


@pytest.fixture(scope="module")
def large(demo_model: Path) -> ModelInfo:
    """The facts of a model of 1.2 billion parameters."""
    return replace(
        inspect(demo_model),
        parameters=1_200_000_000,
        layers=16,
        hidden_size=2048,
        heads=32,
        kv_heads=8,
        head_dim=64,
        kv_bytes_per_token=2 * 2 * 16 * 8 * 64,
    )


def ask(
    model: ModelInfo, target: PredictionTarget, names: tuple[str, ...] = (), **free: Any
) -> Recommendation:
    backends = {name: registry.load(name) for name in names or ("llamacpp", "openvino", "olive", "mlx")}
    return recommend(
        model,
        backends,
        "normal",
        target=target,
        work=CHAT,
        matrix=matrix.load(),
        known=Known(HERE, **free),
    )


def test_the_matrix_orders_backends_with_reasons(large: ModelInfo) -> None:
    pi = ask(large, PI)
    assert [one.backend for one in pi.ranked][:2] == ["llamacpp", "openvino"]
    assert all(one.why for one in pi.ranked)
    assert pi.expected[0].recipe.backend == "llamacpp"
    intel = ask(large, PredictionTarget.from_catalogue(catalogue.shipped()["intel-n100"]))
    assert intel.ranked[0].backend == "openvino"
    apple = ask(large, PredictionTarget.from_catalogue(catalogue.shipped()["apple-m2"]))
    assert [one.backend for one in apple.ranked][:2] == ["mlx", "llamacpp"]


def test_unsupported_backends_of_a_device_are_excluded_with_reasons(large: ModelInfo) -> None:
    pi = ask(large, PI)
    assert "Apple silicon" in pi.refused["mlx"]
    assert not any(one.recipe.backend == "mlx" for one in pi.expected)
    phone = ask(large, PredictionTarget.from_catalogue(catalogue.shipped()["iphone-16-pro"]))
    assert phone.refused["openvino"] == "OpenVINO is not available for iOS"
    assert any(one.recipe.backend == "mlx" for one in phone.expected)
    with pytest.raises(ModelError, match="Apple silicon"):
        ask(large, PI, ("mlx",))
    # Here whatever runs is proven.
    assert "mlx" not in ask(large, HERE).refused


def test_predictions_are_marked_and_have_error_intervals(large: ModelInfo) -> None:
    by_key = {one.recipe.key: one for one in ask(large, PI).expected}
    q4, f16 = by_key["llamacpp/Q4_0"], by_key["llamacpp/F16"]
    for figure in (q4.bytes, q4.memory, q4.prefill, q4.decode, q4.latency, q4.build):
        assert figure.predicted
        assert figure.n == 0
        assert figure.low is not None and figure.value is not None and figure.high is not None
        assert figure.low < figure.value < figure.high
    assert q4.bytes.value == pytest.approx(1.2e9 * 4.5 / 8)
    assert (q4.decode.value or 0) > 1.5 * (f16.decode.value or 0)
    # 0.68 GB and a little cache at 17 GB/s, of which programs reach 0.8 and llama.cpp 0.58: some 12 tokens/s.
    assert 9 < (q4.decode.value or 0) < 15
    assert q4.bottleneck == "memory"
    first = 1000 * CHAT.prompt_tokens / (q4.prefill.value or 1)
    rest = 1000 * (CHAT.generated_tokens - 1) / (q4.decode.value or 1)
    assert q4.latency.value == pytest.approx(first + rest)


def test_every_recipe_of_every_backend_has_its_bytes(large: ModelInfo) -> None:
    untold = [one.recipe.key for one in ask(large, HERE).expected if one.bytes.value is None]
    # Its bits are those of the original, or of layers that only a build tells.
    assert all(key.startswith(("mlx/f", "mlx/mixed")) for key in untold)


def test_unknown_figures_are_missing_with_a_reason(large: ModelInfo, demo_model: Path) -> None:
    phone = PredictionTarget.from_catalogue(catalogue.shipped()["iphone-15-pro"])
    one = next(one for one in ask(large, phone).expected if one.recipe.key == "llamacpp/Q4_0")
    assert one.decode.value is None
    assert one.latency.value is None
    assert one.decode.reason == "Apple does not publish it"
    small = inspect(demo_model)
    assert roofline.predicted_bytes(Recipe("x", "y"), small).value is None
    assert backend.recipes(small)[0].bits is None
    graph = replace(large, task="graph")
    assert roofline.workload_demand(graph, CHAT) is None


def test_builds_that_do_not_fit_are_refused_with_what_would_fit(large: ModelInfo) -> None:
    board = replace(PI, memory_bytes=1_000_000_000, size_budget_bytes=None)
    by_key = {one.recipe.key: one for one in ask(large, board).expected}
    assert "needs" in str(by_key["llamacpp/F16"].obstacle)
    assert by_key["llamacpp/Q4_0"].obstacle is None
    phone = PredictionTarget.from_catalogue(catalogue.shipped()["android-snapdragon-8-gen-2"])
    assert "the size budget of android-snapdragon-8-gen-2 is 100 MB" in str(
        ask(large, phone).expected[0].obstacle
    )
    tight = ask(large, PI, free_memory=10**9, free_disk=30 * 10**9)
    assert len(tight.obstacles) == 2
    assert "give --memory 1000MB to leave out what needs more" in tight.obstacles[0]
    assert "--backends llamacpp would fit" in tight.obstacles[1]
    assert "no single backend would fit" in ask(large, PI, free_disk=10**9).obstacles[0]


def test_advice_applies_and_cites(large: ModelInfo, demo_model: Path) -> None:
    told = ask(large, PI).advice
    assert any("NEON" in one.says for one in told)
    assert all(one.source.startswith("https://") or ":" in one.source for one in told)
    assert not any("Metal" in one.source or "CUDA" in one.says for one in told)
    ultra = ask(large, PredictionTarget.from_catalogue(catalogue.shipped()["intel-core-ultra-7-155h"])).advice
    assert any("NPU" in one.says for one in ultra)
    assert any("cache" in one.says for one in ask(inspect(demo_model), HERE).advice)


def test_a_user_defined_matrix_and_tree_replace_the_shipped_ones(tmp_path: Path, large: ModelInfo) -> None:
    path = tmp_path / "own.toml"
    path.write_text('[intel]\norder = ["mlx"]\nout.openvino = "not bought"\n')
    own = matrix.load({"plan": {"matrix": str(path)}})
    ranked = matrix.rank(own, "intel", large, ["llamacpp", "mlx"])
    assert [one.backend for one in ranked] == ["mlx", "llamacpp"]
    assert own.unsupported("intel") == {"openvino": "not bought"}
    assert own.tree == matrix.load().tree  # each file stands for itself
    with pytest.raises(InputError, match="no row 'apple'"):
        matrix.rank(own, "apple", large, ["mlx"])
    tree = tmp_path / "tree.toml"
    tree.write_text(
        '[[tree]]\nif = { kind = "language", row = "intel" }\nfirst = ["olive"]\nwhy = "we like it"\n'
    )
    own = matrix.load({"plan": {"tree": str(tree)}})
    ranked = matrix.rank(own, "intel", large, ["llamacpp", "openvino", "olive"])
    assert (ranked[0].backend, ranked[0].why) == ("olive", "we like it")
    tree.write_text("")
    assert matrix.rank(matrix.load({"plan": {"tree": str(tree)}}), "intel", large, ["openvino", "olive"])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("matrix", "[intel]\norders = []\n", "has no order"),
        ("matrix", '[intel]\norder = ["a"]\nout = 3\n', "out is 3"),
        ("matrix", "=", "cannot be read"),
        ("tree", '[[tree]]\nfirst = ["a"]\nwhy = "b"\n', "has no if"),
        ("tree", '[[tree]]\nif = { knd = "graph" }\nfirst = ["a"]\nwhy = "b"\n', "unknown fact 'knd'"),
        ("tree", '[[tree]]\nif = { kind = "graph" }\nwhy = "b"\n', "has no first"),
        ("tree", '[[tree]]\nif = { kind = "graph" }\nfirst = ["a"]\n', "has no why"),
        ("tree", "tree = 3\n", "tree is 3"),
    ],
)
def test_an_invalid_matrix_or_tree_is_refused_with_its_entry(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        matrix.load({"plan": {name: str(path)}})
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_invalid_keys_of_plan_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        matrix.load({"plan": {"matrix": str(tmp_path / "none.toml")}})
    with pytest.raises(InputError, match="matrx") as caught:
        matrix.load({"plan": {"matrx": "a"}})
    assert "did you mean 'matrix'" in str(caught.value.hint)


def test_the_time_of_a_run_on_a_quantized_gguf_file_is_predicted(large: ModelInfo) -> None:
    """The file's own bits a weight are known, and its runtime is that of its candidates."""
    size = 750_000_000
    file = replace(large, format="gguf", dtypes={"Q4_K": large.parameters}, bytes=size)
    original, backend = registry.load("gguf"), registry.load("llamacpp")
    measuring = Measuring(tokens=1024, rounds=3, budget=20.0, least_rounds=3, requests=lambda one: one)
    fitting = Fitting("quick", measuring, RunLimits(), original.recipes(file)[0])
    made = [one for one in backend.recipes(file) if not one.calibrated]
    assert made[0].name == "as-is"
    found = fitting.fit(file, {"llamacpp": backend}, made, CHAT, Known(HERE))
    as_is = next(one for one in found.expected if one.recipe.name == "as-is")
    assert as_is.bytes.value == pytest.approx(size)
    assert as_is.decode == expect(original.recipes(file)[0], file, HERE, CHAT, Known(HERE)).decode
    assert found.cost.seconds.value is not None and found.cost.seconds.value > 0


def test_fewer_tokens_are_scored_where_even_few_recipes_take_longer_than_the_effort(large: ModelInfo) -> None:
    original, backend = cast(ReferenceBackend, registry.load("pytorch")), registry.load("llamacpp")
    measuring = Measuring(tokens=6144, rounds=5, budget=60.0, least_rounds=3, requests=lambda one: 2 * one)
    recipes = [one for one in backend.recipes(large) if one.effort == "quick" and not one.calibrated]

    def fitted(seconds: float | None, fewest: int) -> Fitted:
        limits, recipe = RunLimits(seconds), replace(original.original(large), bits=16.0)
        fitting = Fitting("quick", measuring, limits, recipe, fewest)
        return fitting.fit(large, {"llamacpp": backend}, recipes, CHAT, Known(HERE))

    known = fitted(1.0, 0)  # what must be tried in any case
    whole = known.cost.seconds.value
    assert whole is not None and known.tokens is None
    fewer = fitted(whole - 1, 4096)
    assert fewer.tokens == 4096 and fewer.cost.seconds.value is not None
    assert fewer.cost.seconds.value < whole
    assert [one.recipe.key for one in fewer.expected] == [one.recipe.key for one in known.expected]
    assert fitted(whole + 1, 4096).tokens is None
    assert fitted(None, 4096).tokens is None
    assert fitted(1.0, 6144).tokens is None
