"""The sampler: order of recipes, learning from results, and each recipe once."""

from __future__ import annotations

from edgehone.backends.base import Recipe
from edgehone.plan.sampler import Sampler

RECIPES = [
    Recipe(backend, f"{bits}{tuned}", bits=bits, calibrated=bool(tuned))
    for backend in ("one", "two", "three")
    for bits in (8.5, 4.5, 4.25, 3.4)
    for tuned in ("", "+x")
]


def run(objectives: int = 1) -> list[str]:
    """The order of a search in which backend two is best, and fewer bits are better."""
    sampler = Sampler(RECIPES, objectives)
    order = []
    while not sampler.exhausted:
        recipe = sampler.ask()
        order.append(recipe.key)
        sampler.tell(recipe.key, [(recipe.backend != "two") * 2 + (recipe.bits or 0)] * objectives, [-1.0])
    return order


def test_each_recipe_is_returned_once_and_the_order_is_reproducible() -> None:
    order = run()
    assert sorted(order) == sorted(recipe.key for recipe in RECIPES)
    assert order == run()


def test_the_first_recipe_of_each_backend_comes_first_then_promising_ones() -> None:
    order = run()
    assert order[:3] == ["one/8.5", "two/8.5", "three/8.5"]
    assert sum(key.startswith("two/") for key in order[7:14]) >= 6


def test_uncalibrated_recipes_of_each_backend_come_first() -> None:
    turned = sorted(RECIPES, key=lambda recipe: not recipe.calibrated)
    sampler = Sampler(turned, 1)
    first = [sampler.ask().key for _ in range(6)]
    assert first == ["one/8.5", "two/8.5", "three/8.5", "one/8.5+x", "two/8.5+x", "three/8.5+x"]


def test_several_objectives_and_failures_are_learned_from() -> None:
    assert len(run(objectives=2)) == len(RECIPES)
    sampler = Sampler(RECIPES, 1)
    first = sampler.ask()
    sampler.tell(first.key, None, [0.5])
    assert sampler.ask().key != first.key


def test_recipes_of_an_earlier_run_are_taken_out_of_turn() -> None:
    sampler = Sampler(RECIPES, 1)
    assert sampler.take("three/3.4+x") is not None
    assert sampler.take("three/3.4+x") is None
    assert sampler.take("unknown/recipe") is None
    sampler.tell("three/3.4+x", [1.0])
    assert "three/3.4+x" not in [sampler.ask().key for _ in range(len(RECIPES) - 1)]
