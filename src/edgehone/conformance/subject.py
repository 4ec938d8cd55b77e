"""What the core side of the conformance suite looks at: a backend's module and tiny models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from edgehone.backends.base import Backend, Recipe
from edgehone.conformance.models import made_up
from edgehone.execution.environments.environment import Env
from edgehone.model.info import ModelInfo
from edgehone.worker.conformance.outcome import Skipped


@dataclass
class Subject:
    """A backend's module, the tiny models that are at hand, and its environment once it is made."""

    name: str  # that of the entry point
    target: str  # the module's name
    backend: Backend
    models: tuple[ModelInfo, ...]
    env: Env | None = None
    told: list[str] = field(default_factory=list)

    def taken(self) -> list[ModelInfo]:
        """The tiny models that it takes."""
        return [model for model in self.models if self.backend.supports(model).ok]

    def asked(self) -> Iterator[tuple[str, ModelInfo]]:
        """Every model that it is asked about, and what is odd in it."""
        for model in self.models:
            yield from made_up(model).items()

    def proposed(self) -> Iterator[tuple[str, ModelInfo, list[Recipe]]]:
        """The recipes for every model that it takes, made-up ones included."""
        found = [(what, model) for what, model in self.asked() if self.backend.supports(model).ok]
        if not found:
            raise Skipped("it takes none of the models at hand")
        for what, model in found:
            yield what, model, self.backend.recipes(model)
