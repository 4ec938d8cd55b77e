"""What is served of a bundle, read and checked before the server starts."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from edgehone.backends import registry
from edgehone.backends.capabilities import EngineBackend, VisionBackend, capability
from edgehone.backends.serving import PromptPicture
from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.device.detect import detect
from edgehone.execution.job import Job
from edgehone.execution.threads import threads_of
from edgehone.inference.run_bundle import context_of, job_of, tokenizer_input
from edgehone.inference.sampling import stated_in
from edgehone.serve.ahead import LANGUAGE, TEXT
from edgehone.serve.trust import Trusted


@dataclass(frozen=True)
class Canary:
    """A prompt and what the proven artifact answered, greedily: ids. `picture` is part of the prompt."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    picture: PromptPicture | None = None


@dataclass(frozen=True)
class Limits:
    """How many requests to a model are answered at once, how many may wait, and the seconds that one may take.

    Requests to a graph are joined to batches of up to `batch` samples (None: as many as gave the best throughput when
    the bundle was made), for which the first of them waits up to `delay` seconds.

    `context` is the most tokens that a prompt and its answer may have (None: as many as the model takes). `settings`
    are runtime settings in the place of those of the bundle's recipe (`serve.runtime`). With `keep` it stays loaded,
    however long no request comes. The inputs of a graph may be up to `times` as large as in its evaluation
    (`inputs.proven`).
    """

    places: int = 8
    waiting: int | None = None
    seconds: float = 600.0
    batch: int | None = None
    delay: float = 0.0
    context: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    keep: bool = False
    times: float = 4.0

    def queue(self, places: int) -> int:
        """Return how many requests may wait: if not stated, a quarter of those that are answered at once.

        One then waits about a quarter as long as another one takes, and those beyond the capacity are refused, not
        late: so the slowest ones take at most 1.5 times as long as below the capacity.
        """
        return max(1, places // 4) if self.waiting is None else self.waiting


@dataclass(frozen=True)
class Served:
    """A bundle under the name by which clients ask for it, and the job of its engine.

    `places` is the most requests that its engine gets at the same time, `waiting` the most that wait for it, and
    `seconds` the longest time of a request, waiting included. `trusted` is its certification, None without one, and
    `limits` what was asked for when it was read.
    """

    name: str
    bundle: Bundle
    engine: Job
    places: int
    waiting: int
    seconds: float
    trusted: Trusted | None = field(default=None, kw_only=True)
    limits: Limits = field(default_factory=Limits, kw_only=True)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs of its processes."""
        return (self.engine,)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The runtime settings that its engine is started with."""
        found: Mapping[str, Any] = self.engine.args["settings"]
        return found

    @property
    def certificate(self) -> str | None:
        """The SHA-256 of the bundle's certificate; None without one."""
        return self.trusted.verified.certificate_digest if self.trusted else None

    def check(self) -> None:
        """Raise JobError if the bundle is certified and its files are no longer those that were verified."""
        if self.trusted:
            self.trusted.check()


@dataclass(frozen=True)
class ServedLanguage(Served):
    """A bundle with a language model, with the job of its text process.

    `context` is the number of tokens that a prompt and its answer may have (None: unknown). `pictures` is the prompt
    template of a vision-language model, None for another.
    """

    text: Job
    context: int | None
    canaries: tuple[Canary, ...]
    pictures: Mapping[str, Any] | None = None

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs of its processes."""
        return self.engine, self.text

    @cached_property
    def sampling(self) -> Mapping[str, Any]:
        """The content of the model's generation_config.json, read once."""
        return stated_in(self.bundle.tokenizer)

    @property
    def ends(self) -> Sequence[int]:
        """The ids that end a text."""
        return self.bundle.manifest.eos


def check_approved(bundle: Bundle) -> None:
    """Raise InputError for a bundle that is not approved."""
    if not bundle.manifest.approved:
        raise InputError(
            f"{bundle.path} is not approved: its artifact does not pass every gate",
            hint=f"see why: edgehone explain {bundle.path}",
        )


def no_canaries(bundle: Bundle) -> InputError:
    """Return the error for a bundle without canaries."""
    return InputError(
        f"{bundle.path} has no canaries, by which an engine is proven when it starts",
        hint=f"make the bundle again: sh {bundle.path / 'reproduce.sh'}",
    )


def read_language(
    bundle: Bundle, name: str, limits: Limits, on_progress: Callable[[str], None]
) -> ServedLanguage:
    """Return what is served of a bundle with a language model.

    Verifies its files and installs its backend if needed. Raises InputError for a bundle that is not approved, changed,
    or that cannot be served.
    """
    check_approved(bundle)
    backend, pictures = bundle.manifest.recipe["backend"], bundle.manifest.pictures
    needed: type[Any] = EngineBackend if pictures is None else VisionBackend
    if capability(registry.load(backend), needed) is None:
        raise InputError(
            f"{bundle.path} was built by {backend}, which has no engine that serves it yet",
            hint=f"edgehone run {bundle.path} --prompt TEXT",
        )
    stored = bundle.manifest.canaries
    if not (stored if pictures is None else any("picture" in one for one in stored)):
        raise no_canaries(bundle)
    # The session of a vision-language model answers one request at a time.
    places = limits.places if pictures is None else 1
    context = min(filter(None, (context_of(bundle), limits.context)), default=None)
    args = {"places": places, "context": context, "pictures": pictures}
    engine = with_settings(
        job_of(bundle, LANGUAGE, args, tokenizer_input(bundle), on_progress), limits.settings
    )
    text = replace(engine, call=TEXT, threads=1)
    canaries = tuple(_canary(bundle, one) for one in stored)
    waiting = limits.queue(limits.places)
    return ServedLanguage(
        name, bundle, engine, places, waiting, limits.seconds, text, context, canaries, pictures
    )


def with_settings(job: Job, settings: Mapping[str, Any]) -> Job:
    """Return the job of an engine with runtime settings in the place of some of its own."""
    together = {**job.args["settings"], **settings}
    return replace(job, args={**job.args, "settings": together}, threads=threads_of(together, detect()))


def _canary(bundle: Bundle, stored: Mapping[str, Any]) -> Canary:
    picture = None
    if "picture" in stored:
        content = (bundle.path / "canaries" / Path(stored["picture"]).name).read_bytes()
        picture = PromptPicture(stored["at"], base64.b64encode(content).decode())
    return Canary(tuple(stored["prompt"]), tuple(stored["answer"]), picture)
