"""Surgery in a plan: which models and recipes it is proposed for, and reasons for skipping it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends import registry
from edgehone.backends.base import EFFORTS, Effort, Recipe
from edgehone.core.errors import InputError
from edgehone.model.info import ModelInfo
from edgehone.plan import surgery
from edgehone.plan.plan import plan
from edgehone.transform.surgery import operations
from tests.models import LLAMA as SMALL

LLAMA = replace(SMALL, layers=32)

MIXTRAL = replace(LLAMA, architecture="MixtralForCausalLM", model_type="mixtral", experts=8)
RECIPES = [
    Recipe("some", "exact", exact=True),
    Recipe("some", "4 bits", {"bits": 4}, why="small"),
    Recipe("some", "8 bits", {"bits": 8}),
]


def proposed(model: ModelInfo, effort: Effort) -> dict[str, Any]:
    return {recipe.name: dict(recipe.surgery) for recipe in surgery.propose(model, RECIPES, effort)[0]}


def test_a_quick_run_proposes_no_surgery() -> None:
    assert surgery.propose(MIXTRAL, RECIPES, "quick") == ([], {})


def test_the_most_promising_quantized_recipe_is_combined_with_each() -> None:
    assert proposed(LLAMA, "normal") == {"4 bits-drop3": {"drop_layers": 3}}
    assert proposed(LLAMA, "thorough") == {
        "4 bits-drop3": {"drop_layers": 3},
        "4 bits-drop6": {"drop_layers": 6},
    }
    assert proposed(MIXTRAL, "thorough") == {
        "4 bits-drop3": {"drop_layers": 3},
        "4 bits-drop6": {"drop_layers": 6},
        "4 bits-unused0.02": {"prune_experts": 0.02},
        "4 bits-experts75": {"drop_experts": 0.25},
    }
    made = surgery.propose(LLAMA, RECIPES, "normal")[0][0]
    assert made.build == {"bits": 4} and made.why.startswith("small; ") and not made.exact


def test_without_a_quantized_recipe_there_is_nothing_to_combine() -> None:
    assert surgery.propose(LLAMA, RECIPES[:1], "thorough") == ([], {})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"layers": 4}, "at least 12 layers, the model has 4"),
        ({"layers": None}, "an unknown number"),
        ({"model_type": "gemma2"}, "not tested for 'gemma2'"),
    ],
)
def test_skipped_surgery_has_a_reason(change: dict[str, Any], reason: str) -> None:
    made, refused = surgery.propose(replace(LLAMA, **change), RECIPES, "normal")
    assert made == [] and reason in refused["drop_layers"]


def test_shipped_plans_have_unique_keys_and_reasons_for_skipped_surgery(demo_model: Path) -> None:
    for effort in EFFORTS:
        made = plan(MIXTRAL, registry.load_all(["llamacpp", "openvino"]), effort)
        keys = [recipe.key for recipe in made.recipes]
        assert len(set(keys)) == len(keys)
        assert any(recipe.surgery for recipe in made.recipes) == (effort != "quick")
    from edgehone.model.inspect import inspect

    assert (
        "the model has 4"
        in plan(inspect(demo_model), registry.load_all(), "normal").skipped_surgery["drop_layers"]
    )


def test_steps_measure_first_and_follow_each_other() -> None:
    step = operations.steps({"drop_layers": 2, "drop_experts": 0.25})
    assert step.call.endswith("experts:prune") and dict(step.params) == {"share": 0.25} and step.reads == ()
    first = step.inputs["model"]
    assert first.call.endswith("layers:drop") and dict(first.params) == {"count": 2}
    assert first.reads == ("model",)
    # What is measured for the second operation is the first one's result, on the same text.
    assert step.inputs["measured"].inputs == {"model": first}
    assert step.inputs["measured"].reads == ("calibration",)
    assert first.inputs["measured"].reads == ("model", "calibration")


def test_unknown_operations_are_named() -> None:
    with pytest.raises(InputError, match="'amputate'"):
        operations.steps({"amputate": 1})
    with pytest.raises(InputError, match="has no operation"):
        operations.steps({})


def test_every_function_of_an_operation_exists() -> None:
    from edgehone.execution.worker_process import load_function

    for operation in operations.OPERATIONS.values():
        assert all(callable(load_function(name)) for name in (operation.apply, operation.measure) if name)


def test_a_recipe_lists_surgery_only_if_it_has_any() -> None:
    assert "surgery" not in RECIPES[1].to_json()
    assert replace(RECIPES[1], surgery={"drop_layers": 1}).to_json()["surgery"] == {"drop_layers": 1}
