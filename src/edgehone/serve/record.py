"""What is known of a request while it is answered. When it has ended, an observation is made of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgehone.serve.observation import Observation

if TYPE_CHECKING:
    from edgehone.serve.infer.tensor import Tensor

# The key of a request's record in its ASGI scope.
KEY = "edgehone.record"
# Characters of an identifier that a client gives; a longer one is not told.
LONGEST_ID = 128
Headers = Sequence[tuple[bytes, bytes]]


class Record:
    """A request whose model is known.

    `sampled` asks for the log-probabilities of its answer, if the engine tells them. With `streams` it ends with the
    stream, else when the answer is complete. `scores` is the output of a classifier.
    """

    __slots__ = (
        "_choices",
        "_entropies",
        "_further",
        "_further_count",
        "_margins",
        "_on_end",
        "_tokens_seen",
        "at",
        "begun",
        "classes",
        "engine_seconds",
        "entropy",
        "first_seconds",
        "generated_tokens",
        "headers",
        "id",
        "ids",
        "inputs",
        "margin",
        "model",
        "path",
        "prompt_tokens",
        "sampled",
        "scores",
        "seconds",
        "status",
        "streams",
        "version",
    )  # fmt: skip

    def __init__(
        self, model: str, path: str, headers: Headers, on_end: Callable[[Record], None], *, sampled: bool
    ) -> None:
        self.model, self.path, self.headers, self._on_end = model, path, headers, on_end
        self.sampled = sampled
        self.begun = time.perf_counter()
        self.id = self.version = ""
        self.status = 0
        self.streams = False
        self.at = self.seconds = self.engine_seconds = 0.0
        self.prompt_tokens = self.generated_tokens = 0
        self.ids: Sequence[int] | None = None
        self.inputs: Sequence[Tensor] = ()
        self.scores: Tensor | None = None
        self.classes: Sequence[int] | None = None
        self.first_seconds: float | None = None
        self.entropy: float | None = None
        self.margin: float | None = None
        self._further = self._entropies = self._margins = 0.0
        self._further_count = self._tokens_seen = 0

    def choice(self, first: float | None, further: float | None, tokens: int, held: float) -> None:
        """Add a choice: seconds to its first token, of each further one, its tokens, seconds in the engine."""
        if first is not None:
            self.first_seconds = first if self.first_seconds is None else min(first, self.first_seconds)
        if further is not None:
            self._further += further
            self._further_count += 1
        self.generated_tokens += tokens
        self.engine_seconds += held

    def token(self, entropy: float, margin: float) -> None:
        """Add the confidence of a token."""
        self._entropies += entropy
        self._margins += margin
        self._tokens_seen += 1

    def answered(self, status: int) -> None:
        """Take the status of the answer. The request has then ended, unless the answer is a stream."""
        self.status = self.status or status
        if not self.streams:
            self.end()

    def end(self) -> None:
        """The request has ended."""
        self.seconds = time.perf_counter() - self.begun
        self.at = time.time()
        if seen := self._tokens_seen:
            self.entropy, self.margin = self._entropies / seen, self._margins / seen
        self._on_end(self)

    def observation(self, tenant: str, route: str) -> Observation:
        """Return what is told of the request."""
        count = self._further_count
        return Observation(
            at=self.at,
            model=self.model,
            status=self.status,
            route=route,
            tenant=tenant,
            path=self.path,
            seconds=self.seconds,
            first_seconds=self.first_seconds,
            token_seconds=self._further / count if count else None,
            engine_seconds=self.engine_seconds,
            prompt_tokens=self.prompt_tokens,
            generated_tokens=self.generated_tokens,
            entropy=self.entropy,
            margin=self.margin,
            classes=self.classes,
            version=self.version,
            id=self.id if len(self.id) <= LONGEST_ID else "",
            ids=self.ids,
            tensors={one.name: one for one in self.inputs} if self.inputs else None,
        )
