"""The subject of the core side's checks: a backend's module and tiny models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgehone.backends.base import Backend, Recipe
from edgehone.conformance.models import made_up
from edgehone.execution.environments.environment import Env
from edgehone.model.info import ModelInfo
from edgehone.worker.conformance.outcome import Skipped


@dataclass
class Subject:
    """A backend's module, the tiny models, and the backend's environment once it is installed."""

    name: str  # the entry point's name
    target: str  # the module's name
    backend: Backend
    models: tuple[ModelInfo, ...]
    env: Env | None = None
    progress: Callable[[str], None] = lambda what: None

    def supported(self) -> list[ModelInfo]:
        """Return the tiny models that the backend supports."""
        return [model for model in self.models if self.backend.supports(model).ok]

    def models_to_try(self) -> Iterator[tuple[str, ModelInfo]]:
        """Yield every model, made-up ones included, after a word on its special property."""
        for model in self.models:
            yield from made_up(model).items()

    def proposed(self) -> Iterator[tuple[str, ModelInfo, list[Recipe]]]:
        """Yield every supported model, made-up ones included, with its recipes. Raises Skipped if there is none."""
        supported = [(what, model) for what, model in self.models_to_try() if self.backend.supports(model).ok]
        if not supported:
            raise Skipped("it supports none of the available models")
        for what, model in supported:
            yield what, model, self.backend.recipes(model)
