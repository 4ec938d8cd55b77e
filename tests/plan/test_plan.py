"""The plan: recipes by effort level, and reasons for excluding backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from edgehone.backends.base import EFFORTS, Backend, Effort, Needs, Recipe, Support
from edgehone.core.errors import ModelError
from edgehone.model.info import ModelInfo
from edgehone.plan.plan import plan
from tests.models import LLAMA as MODEL


class Willing:
    """A backend with a recipe for each effort."""

    NEEDS = Needs()
    REFERENCE = False

    def __init__(
        self, name: str, *reasons: str, exact_at: Effort = "quick", processors: tuple[str, ...] = ()
    ) -> None:
        self.processors = processors
        self.NAME = name
        self.reasons = reasons
        self.exact_at: Effort = exact_at

    def supports(self, model: ModelInfo) -> Support:
        return Support(not self.reasons, self.reasons)

    def recipes(self, model: ModelInfo) -> list[Recipe]:
        exact = Recipe(self.NAME, "exact", effort=self.exact_at, exact=True)
        return [
            exact,
            *(
                Recipe(self.NAME, f"for-{effort}", effort=effort, processors=self.processors)
                for effort in EFFORTS
            ),
        ]

    def steps(self, recipe: Recipe) -> Any:
        raise AssertionError("planning builds nothing")


def backends(*some: Willing) -> dict[str, Backend]:
    return {one.NAME: cast(Backend, one) for one in some}


@pytest.mark.parametrize(("effort", "count"), [("quick", 2), ("normal", 3), ("thorough", 4)])
def test_an_effort_tries_its_recipes_and_those_of_less(effort: Effort, count: int) -> None:
    made = plan(MODEL, backends(Willing("a"), Willing("b")), effort)
    assert [recipe.backend for recipe in made.recipes] == ["a"] * count + ["b"] * count
    assert [recipe.exact for recipe in made.recipes[:count]] == [True] + [False] * (count - 1)
    assert made.backends == ["a", "b"] and made.refused == {}


def test_a_backend_without_support_is_excluded_with_all_reasons() -> None:
    made = plan(MODEL, backends(Willing("a"), Willing("b", "too large", "no such layer")), "quick")
    assert made.backends == ["a"]
    assert made.refused == {"b": "too large; no such layer"}


def test_a_recipe_for_some_processors_is_planned_only_there() -> None:
    some = backends(Willing("a", processors=("avx512_bf16", "amx_bf16")))
    for simd, planned in ((["avx2"], False), (["avx2", "amx_bf16"], True), ([], False), (None, True)):
        made = plan(MODEL, some, "quick", simd=simd)
        assert ("a/for-quick" in {recipe.key for recipe in made.recipes}) == planned


def test_the_baseline_is_not_a_candidate() -> None:
    made = plan(MODEL, backends(Willing("a")), "quick", baseline="a/for-quick")
    assert [recipe.key for recipe in made.recipes] == ["a/exact"]


def test_the_exact_recipe_is_tried_at_every_effort() -> None:
    made = plan(MODEL, backends(Willing("a", exact_at="thorough")), "quick")
    assert [recipe.key for recipe in made.recipes] == ["a/exact", "a/for-quick"]


def test_a_backend_without_candidates_or_an_exact_recipe_is_excluded() -> None:
    class OnlyExact(Willing):
        def recipes(self, model: ModelInfo) -> list[Recipe]:
            return super().recipes(model)[:1]

    made = plan(MODEL, backends(OnlyExact("a"), Willing("b")), "quick", baseline="a/exact")
    assert made.backends == ["b"] and "only runs the original" in made.refused["a"]
    made = plan(MODEL, backends(Willing("a"), Willing("b")), "quick", baseline="a/exact")
    assert made.backends == ["b"] and "no exact recipe" in made.refused["a"]


def test_no_backend_at_all_is_an_error_with_each_reason() -> None:
    with pytest.raises(ModelError) as caught:
        plan(MODEL, backends(Willing("a", "too large"), Willing("b", "too odd")), "quick")
    assert "LlamaForCausalLM" in caught.value.message and "model" in caught.value.message
    assert "a: too large" in caught.value.message and "b: too odd" in caught.value.message
    assert caught.value.hint == "edgehone inspect model"


def test_keys_are_one_of_a_kind_in_every_shipped_plan(demo_model: Path, null_model: Path) -> None:
    from edgehone.backends import registry
    from edgehone.model.inspect import inspect

    for folder in (demo_model, null_model):
        keys = [recipe.key for recipe in plan(inspect(folder), registry.load_all(), "thorough").recipes]
        assert len(set(keys)) == len(keys) > 0
