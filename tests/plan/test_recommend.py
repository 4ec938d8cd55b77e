"""What deserves a try, in which order and why; predictions that say that they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends import llamacpp, mlx, openvino, registry
from edgehone.backends.base import Recipe
from edgehone.device import catalogue
from edgehone.errors import InputError
from edgehone.figure import Figure
from edgehone.measure import workload
from edgehone.model import ModelInfo, inspect
from edgehone.plan import matrix, roofline
from edgehone.plan.recommend import recommend
from edgehone.plan.target import Target

CHAT = workload.load("chat")
PI = Target.of(catalogue.shipped()["raspberry-pi-5"])


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
    )


def ask(model: ModelInfo, target: Target, **more: Any) -> Any:
    backends = {name: registry.load(name) for name in ("llamacpp", "openvino", "mlx")}
    free = {"free_memory": None, "free_disk": None, **more}
    return recommend(
        model, backends, "normal", target=target, work=CHAT, matrix=matrix.load(), reached={}, **free
    )


def test_the_matrix_orders_and_says_why(large: ModelInfo) -> None:
    pi = ask(large, PI)
    assert [one.backend for one in pi.ranked][:2] == ["llamacpp", "openvino"]
    assert all(one.why for one in pi.ranked)
    assert pi.expected[0].recipe.backend == "llamacpp"
    intel = ask(large, Target.of(catalogue.shipped()["intel-n100"]))
    assert intel.ranked[0].backend == "openvino"
    apple = ask(large, Target.of(catalogue.shipped()["apple-m2"]))
    assert [one.backend for one in apple.ranked][:2] == ["mlx", "llamacpp"]


def test_predictions_say_so_and_hold_their_error(large: ModelInfo) -> None:
    by_key = {one.recipe.key: one for one in ask(large, PI).expected}
    q4, f16 = by_key["llamacpp/Q4_0"], by_key["llamacpp/F16"]
    for figure in (q4.bytes, q4.memory, q4.decode):
        assert figure.reason == "predicted"
        assert figure.n == 0
        assert figure.low is not None and figure.value is not None and figure.high is not None
        assert figure.low < figure.value < figure.high
    assert q4.bytes.value == pytest.approx(1.2e9 * 4.5 / 8)
    assert (q4.decode.value or 0) > 2 * (f16.decode.value or 0)
    # 0.68 GB and a little cache at 17 GB/s and three quarters of it: some 18 tokens/s.
    assert 10 < (q4.decode.value or 0) < 30


def test_what_this_machine_reached_replaces_the_table(large: ModelInfo) -> None:
    recipe = next(one for one in llamacpp.recipes(large) if one.name == "Q4_0")
    seen = roofline.efficiency(recipe, [0.5, 0.5, 0.5])
    assert seen[0] == pytest.approx(0.5)
    assert seen[1] == pytest.approx(1.35)  # never stated nearer than that
    assert roofline.efficiency(recipe, [0.2, 0.4, 0.8])[1] > 2
    assert roofline.efficiency(recipe, [])[0] == pytest.approx(0.74, abs=0.01)


def test_what_is_not_known_is_missing_with_its_reason(large: ModelInfo, demo_model: Path) -> None:
    phone = Target.of(catalogue.shipped()["iphone-15-pro"])
    one = next(one for one in ask(large, phone).expected if one.recipe.key == "llamacpp/Q4_0")
    assert one.decode.value is None
    assert one.decode.reason == "Apple does not publish it"
    small = inspect(demo_model)
    recipe = openvino.recipes(small)[0]
    figure = roofline.predicted_decode(
        recipe, small, CHAT, bandwidth=Figure(30.0, unit="GB/s"), last_cache=32 << 20, reached=()
    )
    assert figure.value is None
    assert "caches" in str(figure.reason)
    assert roofline.predicted_bytes(Recipe("x", "y"), small).value is None
    assert mlx.recipes(small)[0].bits is None


def test_what_does_not_fit_is_told_with_what_would(large: ModelInfo) -> None:
    board = replace(PI, memory_bytes=1_000_000_000, size_budget_bytes=None)
    by_key = {one.recipe.key: one for one in ask(large, board).expected}
    assert "needs" in str(by_key["llamacpp/F16"].obstacle)
    assert by_key["llamacpp/Q4_0"].obstacle is None
    phone = Target.of(catalogue.shipped()["android-snapdragon-8-gen-2"])
    assert "the budget of android-snapdragon-8-gen-2 is 100 MB" in str(ask(large, phone).expected[0].obstacle)
    tight = ask(large, PI, free_memory=10**9, free_disk=10**9)
    assert len(tight.obstacles) == 2
    assert "build on a larger machine" in tight.obstacles[0]
    assert "--backends" in tight.obstacles[1]


def test_advice_applies_and_cites(large: ModelInfo) -> None:
    told = ask(large, PI).advice
    assert any("NEON" in one.says for one in told)
    assert all(one.source for one in told)
    assert not any("Metal" in one.source or "CUDA" in one.says for one in told)


def test_a_matrix_of_the_users_own(tmp_path: Path, large: ModelInfo) -> None:
    path = tmp_path / "own.toml"
    path.write_text('[intel]\norder = ["mlx"]\n')
    own = matrix.load({"plan": {"matrix": str(path)}})
    ranked = matrix.rank(own, "intel", large, ["llamacpp", "mlx"])
    assert [one.backend for one in ranked] == ["mlx", "llamacpp"]
    with pytest.raises(InputError, match="no row 'apple'"):
        matrix.rank(own, "apple", large, ["mlx"])
    path.write_text("[intel]\norders = []\n")
    with pytest.raises(InputError, match="has no order"):
        matrix.load({"plan": {"matrix": str(path)}})
    with pytest.raises(InputError, match="cannot be read"):
        matrix.load({"plan": {"matrix": str(tmp_path / "none.toml")}})
