"""Mixed-precision recipes for a size limit of the user."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgehone.backends.base import EFFORTS, Backend, Effort, Recipe
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


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("name", BACKENDS)
def test_every_framework_gets_a_recipe_for_the_size_limit_at_any_effort(name: str, effort: Effort) -> None:
    made = plan(MODEL, {name: BACKENDS[name]}, effort, most_bytes=550_000_000)
    (found,) = [recipe for recipe in made.recipes if recipe.name.startswith("mix-550MB")]
    assert found.build["mix"] == {"bytes": 550_000_000} and found.bits == pytest.approx(4.4)
    assert found.calibrated and "550,000,000" in found.why


@pytest.mark.parametrize("name", BACKENDS)
def test_two_mixes_with_known_bits_are_proposed(name: str) -> None:
    mixes = [
        recipe for recipe in plan(MODEL, {name: BACKENDS[name]}, "normal").recipes if "mix" in recipe.build
    ]
    assert len(mixes) == 2
    assert all(recipe.bits == recipe.build["mix"]["bits"] for recipe in mixes)
    assert not [r for r in plan(MODEL, {name: BACKENDS[name]}, "quick").recipes if "mix" in r.build]


@pytest.mark.parametrize("name", BACKENDS)
def test_steps_that_read_sensitivities_get_the_menu_of_types(name: str) -> None:
    (first, *_) = [recipe for recipe in BACKENDS[name].recipes(MODEL) if "mix" in recipe.build]
    steps = [BACKENDS[name].steps(first)]
    for step in steps:
        steps += step.inputs.values()
    told = [step for step in steps if "sensitivity" in step.reads]
    assert told and all(step.params["mix"]["menu"] for step in told)


def test_sensitivity_of_experts_is_not_measured() -> None:
    mixture = replace(MODEL, model_type="mixtral", architecture="MixtralForCausalLM", experts=8)
    for backend in BACKENDS.values():
        assert not [recipe for recipe in backend.recipes(mixture) if "mix" in recipe.build]


def test_a_mix_is_added_only_for_a_tight_size_limit() -> None:
    recipes = [Recipe("null", "mix-5", {"mix": {"bits": 5.0}}), Recipe("null", "plain")]
    assert mixed.fit_to_size(MODEL, recipes, None) == []
    assert mixed.fit_to_size(MODEL, recipes, 2_000_000_000) == []
    assert mixed.fit_to_size(MODEL, recipes[1:], 550_000_000) == []
    assert mixed.fit_to_size(replace(MODEL, parameters=0), recipes, 550_000_000) == []
    assert [one.name for one in mixed.fit_to_size(MODEL, recipes, 550_000_000)] == ["mix-550MB"]


def test_a_gguf_file_that_meets_the_limit_needs_no_mix() -> None:
    file = replace(
        MODEL,
        format="gguf",
        architecture="llama",
        bytes=600_000_000,
        dtypes={"Q4_K": 10**9},
        files=("a.gguf",),
    )
    recipes = llamacpp.recipes(file)
    assert mixed.fit_to_size(file, recipes, 600_000_000) == []
    (found,) = mixed.fit_to_size(file, recipes, 400_000_000)
    assert found.build["mix"] == {"bytes": 400_000_000} and found.build["source"] == "gguf"
