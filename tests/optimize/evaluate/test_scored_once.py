"""What runs the reference's own artifact with its settings is not scored again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgehone.backends.base import Recipe
from edgehone.backends.llamacpp import backend, original
from edgehone.execution.job import Input
from edgehone.optimize.evaluate import language
from tests.models import LLAMA

FILE = Input(LLAMA.path, "the linked file")


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
        run=run,
        announce=lambda *_: None,
        scored=scored,
    )


def original_of(ctx: Any) -> Any:
    result = SimpleNamespace(out=LLAMA.path, identity="reference")
    facts = {"scored_as": language._scored_as(ctx, original.reference(LLAMA), FILE)}
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
