"""A budget of the user's own makes a mix of just so many bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgehone.backends.base import Backend, Recipe
from edgehone.backends.llamacpp import backend as llamacpp
from edgehone.backends.mlx import backend as mlx
from edgehone.backends.olive import backend as olive
from edgehone.backends.openvino import backend as openvino
from edgehone.plan import mixed
from edgehone.plan.plan import plan
from tests.models import LLAMA

MODEL = replace(
    LLAMA, parameters=1_000_000_000, hidden_size=2048, intermediate_size=8192, layers=16, heads=32
)
BACKENDS: dict[str, Backend] = {"llamacpp": llamacpp, "openvino": openvino, "olive": olive, "mlx": mlx}


@pytest.mark.parametrize("name", BACKENDS)
def test_every_framework_is_given_the_budget(name: str) -> None:
    made = plan(MODEL, {name: BACKENDS[name]}, "normal", most_bytes=550_000_000)
    (found,) = [recipe for recipe in made.recipes if recipe.name.startswith("mix-550MB")]
    assert found.build["mix"] == {"bytes": 550_000_000} and found.bits == pytest.approx(4.4)
    assert found.calibrated and "550,000,000" in found.why


@pytest.mark.parametrize("name", BACKENDS)
def test_two_budgets_are_proposed_whose_bits_are_known_before_building(name: str) -> None:
    mixes = [
        recipe for recipe in plan(MODEL, {name: BACKENDS[name]}, "normal").recipes if "mix" in recipe.build
    ]
    assert len(mixes) == 2
    assert all(recipe.bits == recipe.build["mix"]["bits"] for recipe in mixes)
    assert not [r for r in plan(MODEL, {name: BACKENDS[name]}, "quick").recipes if "mix" in r.build]


@pytest.mark.parametrize("name", BACKENDS)
def test_the_measuring_step_is_asked_for_and_the_menu_is_told(name: str) -> None:
    (first, *_) = [recipe for recipe in BACKENDS[name].recipes(MODEL) if "mix" in recipe.build]
    steps = [BACKENDS[name].steps(first)]
    for step in steps:
        steps += step.inputs.values()
    told = [step for step in steps if "sensitivity" in step.reads]
    assert told and all(step.params["mix"]["menu"] for step in told)


def test_experts_are_not_measured() -> None:
    mixture = replace(MODEL, model_type="mixtral", architecture="MixtralForCausalLM", experts=8)
    for backend in BACKENDS.values():
        assert not [recipe for recipe in backend.recipes(mixture) if "mix" in recipe.build]


def test_without_need_nothing_is_added() -> None:
    recipes = [Recipe("null", "mix-5", {"mix": {"bits": 5.0}}), Recipe("null", "plain")]
    assert mixed.fit_to_size(MODEL, recipes, None) == []
    assert mixed.fit_to_size(MODEL, recipes, 2_000_000_000) == []
    assert mixed.fit_to_size(MODEL, recipes[1:], 550_000_000) == []
    assert mixed.fit_to_size(replace(MODEL, parameters=0), recipes, 550_000_000) == []
    assert [one.name for one in mixed.fit_to_size(MODEL, recipes, 550_000_000)] == ["mix-550MB"]
