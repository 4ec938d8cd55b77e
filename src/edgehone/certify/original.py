"""The original model, with which quality and robustness are compared; without it these checks are skipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.backends import registry
from edgehone.backends.base import Recipe
from edgehone.certify.found import Skipped
from edgehone.certify.subject import Subject
from edgehone.core.errors import InputError, ModelError
from edgehone.core.events import Event
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.model.inspect import inspect
from edgehone.optimize.build import build
from edgehone.optimize.context import RunContext
from edgehone.optimize.context_setup import set_up_context
from edgehone.optimize.executors import Executors
from edgehone.optimize.options import OptimizeOptions

_HINT = "give it with --model PATH"


@dataclass(frozen=True)
class OriginalModel:
    """The original in float32, ready to run: the run context, its recipe and what the recipe built."""

    ctx: RunContext
    recipe: Recipe
    artifact: Input

    def run(
        self,
        call: str,
        args: Mapping[str, Any],
        inputs: Mapping[str, Input],
        *,
        settings: Mapping[str, Any] | None = None,
    ) -> JobResult:
        """Run a job that opens the original."""
        return self.ctx.run(
            self.recipe.backend,
            call,
            {**args, "settings": dict(self.recipe.settings if settings is None else settings)},
            {"artifact": self.artifact, **inputs},
            opens_session=True,
        )


def find(subject: Subject) -> Path:
    """Return the path of the original: the given one, else the one that the decision names.

    Raises Skipped if it is not there, InputError if a given one is another model.
    """
    given = subject.sources.model
    stated = subject.bundle.decision.model.get("path")
    if given is None and not stated:
        raise Skipped(f"the decision does not say where the original is: {_HINT}")
    path = given or Path(str(stated))
    try:
        inspect(path)
    except ModelError as error:
        if given is not None:
            raise
        raise Skipped(f"the original is not at {path}: {_HINT}") from error
    return path


def original_of(subject: Subject) -> OriginalModel:
    """Open the original for scoring. Raises Skipped if it, or what it needs, is not there."""
    path = subject.once(find)
    options = OptimizeOptions(
        path,
        effort="quick",
        evaluation=subject.sources.evaluation,
        axes=tuple(subject.bundle.manifest.axes.get("told", ())),
        states=tuple(subject.bundle.manifest.axes.get("told_states", ())),
        emit=lambda event: _say(subject, event),
    )
    backends = registry.load_all([subject.backend])
    try:
        ctx, _, _ = set_up_context(options, {}, backends, backends, executors=Executors.local())
    except InputError as error:
        if subject.sources.model or subject.sources.evaluation:
            raise
        raise Skipped(f"{error.message}; {error.hint or _HINT}") from error
    wanted = subject.bundle.manifest.model.get("digest")
    if ctx.source.identity != wanted:
        digests = f"{ctx.source.identity[:12]}, not {str(wanted)[:12]}"
        message = f"{path} is another model than the bundle's original ({digests})"
        if subject.sources.model:
            raise InputError(message, hint="give the original that the bundle was made of with --model PATH")
        raise Skipped(f"{message}: {_HINT}")
    recipe = ctx.reference_backend.reference(ctx.model)
    return OriginalModel(ctx, recipe, Input.of(build(ctx, recipe)))


def _say(subject: Subject, event: Event) -> None:
    if event.detail:
        subject.say(event.detail)
