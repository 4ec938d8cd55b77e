"""What runs the reference's own artifact with its settings is not scored again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from edgehone.backends.base import Recipe
from edgehone.backends.llamacpp import backend, original
from edgehone.execution.job import Input
from edgehone.optimize.evaluate import language
from edgehone.optimize.evaluate.same_run import runs_as
from tests.models import LLAMA

FILE = Input(LLAMA.path, "the linked file")
LARGE = 300_000_000


@pytest.fixture
def ctx() -> Any:
    scored: list[Any] = []

    def run(*args: Any, **more: Any) -> str:
        scored.append(args)
        return "scored"

    return SimpleNamespace(
        reference_backend=original,
        backends={"llamacpp": backend},
        verifies_on_target=False,
        model=SimpleNamespace(parameters=1_000_000),
        build_executor=SimpleNamespace(executor=SimpleNamespace(slots=0)),
        run=run,
        announce=lambda *_: None,
        scored=scored,
    )


def original_of(ctx: Any) -> Any:
    result = SimpleNamespace(out=LLAMA.path, identity="reference")
    facts = {"scored_as": runs_as(ctx, original.reference(LLAMA), FILE)}
    return SimpleNamespace(reference=result, prepared=result, facts=facts)


AS_IS = Recipe("llamacpp", "as-is", {"source": "gguf"}, effort="quick", exact=True, why="")


@pytest.mark.parametrize("recipe", [original.original(LLAMA), AS_IS], ids=lambda one: one.key)
def test_the_reference_is_the_score_of_the_same_file(recipe: Recipe, ctx: Any) -> None:
    of = original_of(ctx)
    assert language.score(ctx, of, recipe, FILE) is of.reference and not ctx.scored


@pytest.mark.parametrize(
    ("recipe", "artifact"),
    [
        pytest.param(AS_IS, Input(LLAMA.path, "another file"), id="another artifact"),
        pytest.param(
            Recipe("llamacpp", "as-is", settings={"flash_attention": True}, effort="quick", why=""),
            FILE,
            id="other settings",
        ),
    ],
)
def test_anything_else_is_scored(recipe: Recipe, artifact: Input, ctx: Any) -> None:
    language.score(ctx, original_of(ctx), recipe, artifact)
    assert len(ctx.scored) == 1


def test_on_the_target_the_same_file_is_scored(ctx: Any) -> None:
    of = original_of(ctx)
    ctx.verifies_on_target = True
    language.score(ctx, of, AS_IS, FILE)
    assert len(ctx.scored) == 1


@pytest.mark.parametrize(
    ("parameters", "slots", "together"),
    [(1_000_000, 0, True), (LARGE, 0, False), (LARGE, 4, True), (None, 0, True)],
)
def test_large_models_are_scored_one_at_a_time_on_one_machine(
    parameters: int | None, slots: int, together: bool, ctx: Any
) -> None:
    ctx.model.parameters, ctx.build_executor.executor.slots = parameters, slots
    both = threading.Barrier(2)
    met: list[bool] = []

    def run(*args: Any, **more: Any) -> str:
        try:
            both.wait(timeout=None if together else 0.2)
            met.append(True)
        except threading.BrokenBarrierError:
            met.append(False)
        return "scored"

    ctx.run = run
    others = [Input(LLAMA.path, name) for name in "ab"]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: language.score(ctx, original_of(ctx), AS_IS, one), others))
    assert met == [together] * 2
