"""Runs with few recipes: a test needs those that it looks at, and each further one is built, scored and measured."""

from __future__ import annotations

from typing import Any

import pytest

from edgehone.backends.base import Recipe
from edgehone.model.info import ModelInfo

# Few and short rounds, and no waiting for a quiet machine.
FEW_ROUNDS = "[efforts.quick]\nrounds = 2\nseconds = 0.03\nbudget = 5.0\npatience = 0.0\n"


def only(patch: pytest.MonkeyPatch, backend: Any, *names: str) -> None:
    """Let a backend propose the named recipes alone. `backend` is its module."""
    every = backend.recipes

    def some(model: ModelInfo) -> list[Recipe]:
        found = [one for one in every(model) if one.name in names]
        assert {one.name for one in found} == {*names}
        return found

    patch.setattr(backend, "recipes", some)
