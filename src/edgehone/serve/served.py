"""What is served of a bundle, read and checked before the server starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgehone.backends import registry
from edgehone.backends.capabilities import EngineBackend, capability
from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.execution.job import Job
from edgehone.inference.run_bundle import context_of, job_of, tokenizer_input

ENGINE, TEXT = "edgehone.worker.engine:serve", "edgehone.worker.text_service:serve"


@dataclass(frozen=True)
class Canary:
    """A prompt and what the proven artifact answered, greedily: ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Served:
    """A bundle under the name by which clients ask for it, and the jobs of its processes.

    `context` is the number of tokens that a prompt and its answer may have (None: unknown), `places` the most requests
    that its engine answers at the same time.
    """

    name: str
    bundle: Bundle
    engine: Job
    text: Job
    context: int | None
    places: int
    canaries: tuple[Canary, ...]

    @property
    def ends(self) -> Sequence[int]:
        """The ids that end a text."""
        return self.bundle.manifest.eos


def read_served(bundle: Bundle, name: str, places: int, on_progress: Callable[[str], None]) -> Served:
    """Return what is served of a bundle. Verifies its files and installs its backend if needed.

    Raises InputError for a bundle that is not approved, changed, or of a kind that is not served.
    """
    if bundle.manifest.kind != "language":
        raise InputError(
            f"{bundle.path} is a graph; only language models are served", hint=f"edgehone run {bundle.path}"
        )
    if not bundle.manifest.approved:
        raise InputError(
            f"{bundle.path} is not approved: its artifact does not pass every gate",
            hint=f"see why: edgehone explain {bundle.path}",
        )
    backend = bundle.manifest.recipe["backend"]
    if capability(registry.load(backend), EngineBackend) is None:
        raise InputError(
            f"{bundle.path} was built by {backend}, which has no engine that serves it yet",
            hint=f"edgehone run {bundle.path} --prompt TEXT",
        )
    canaries = tuple(map(_canary, bundle.manifest.canaries))
    if not canaries:
        raise InputError(
            f"{bundle.path} has no canaries, by which an engine is proven when it starts",
            hint=f"make the bundle again: sh {bundle.path / 'reproduce.sh'}",
        )
    args = {"places": places, "context": context_of(bundle)}
    engine = job_of(bundle, ENGINE, args, {}, on_progress)
    text = replace(engine, call=TEXT, inputs={**engine.inputs, **tokenizer_input(bundle)}, threads=1)
    return Served(name, bundle, engine, text, context_of(bundle), places, canaries)


def _canary(stored: Mapping[str, Any]) -> Canary:
    return Canary(tuple(stored["prompt"]), tuple(stored["answer"]))
