"""Build steps name functions that exist: a worker imports them by name, in another process."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.backends import registry
from edgehone.backends.base import Step
from edgehone.model.info import ModelInfo, Tensor
from tests.models import DIGITS, LLAMA

ENCODER = replace(
    DIGITS,
    path=Path("encoder"),
    format="huggingface",
    architecture="BertModel",
    model_type="bert",
    task="feature-extraction",
    inputs=tuple(Tensor(name, "int64", ("batch", "sequence")) for name in ("input_ids", "attention_mask")),
    opset=None,
    operators=(),
)
MODELS = {
    "language": LLAMA,
    "mixture": replace(LLAMA, model_type="mixtral", experts=8),
    "vision-language": replace(LLAMA, model_type="llava", task="image-text-to-text"),
    "graph": DIGITS,
    "encoder": ENCODER,
}


def chain(step: Step) -> Iterator[Step]:
    """Yield a step and all steps that it depends on."""
    yield step
    for source in step.inputs.values():
        yield from chain(source)


@pytest.mark.parametrize("name", sorted(registry.names()))
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_step_calls_a_function_that_takes_one_job(name: str, model: ModelInfo) -> None:
    backend = registry.load(name)
    recipes = backend.recipes(model) if backend.supports(model).ok else []
    calls = {step.call for recipe in recipes for step in chain(backend.steps(recipe))}
    for call in calls:
        module, _, function = call.partition(":")
        assert list(inspect.signature(getattr(importlib.import_module(module), function)).parameters) == [
            "job"
        ]
