"""Types of an engine: an opened artifact that answers many requests at the same time (worker side).

The framework's own continuous batching decides which requests run in a step. Core and workers both use these types.
This module imports only the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

# What a request may ask for beyond greedy generation, by the names of the OpenAI API and of llama.cpp.
Option = Literal[
    "temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty", "frequency_penalty",
    "presence_penalty", "json_schema", "plain_json_schema", "logprobs", "top_logprobs",
]  # fmt: skip


@dataclass(frozen=True)
class PromptPicture:
    """A picture between the ids of a prompt: before the one at index `at`. `data` is a file of pixels in base64."""

    at: int
    data: str


@dataclass(frozen=True)
class EngineRequest:
    """A prompt to continue.

    `number` names the request, `ids` are the prompt, `count` is the largest number of new tokens, `ends` are the ids
    that end the text. `options` has values for names of `Option`; without `temperature`, or with 0, the likeliest token
    is taken. `json_schema` is a JSON schema that the text must satisfy, `plain_json_schema` one of the few forms that
    `serve.openai.plain_schemas` states; the text then ends when it is complete, whatever `ends` are. With `logprobs`,
    the log-probability of each token comes with it, and with `top_logprobs` those of so many of the likeliest. Only a
    vision-language model gets a `picture`.
    """

    number: int
    ids: Sequence[int]
    count: int
    ends: frozenset[int] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    picture: PromptPicture | None = None


@dataclass(frozen=True)
class TokenLogprobs:
    """The logarithm of a token's probability, before sampling changed it; `top` are the likeliest with theirs."""

    token: int
    logprob: float
    top: Sequence[tuple[int, float]] = ()


class Produced(NamedTuple):  # one is made for each token, in a third of the time of a frozen dataclass
    """New tokens of a request, without the one that ended the text. `reason` is set with the last ones.

    `logprobs` has an entry for each id, if the request asks for them and the framework tells. `texts` are those of
    the ids, one for each, from an engine that tells them; a text without an id is a part of the last one.

    "stop": the text ended; "length": `count` tokens were generated; "refused": the request cannot be answered, as
    `error` says; "error": the engine failed, as `error` says.
    """

    number: int
    ids: Sequence[int]
    reason: Literal["stop", "length", "refused", "error"] | None = None
    error: str | None = None
    logprobs: Sequence[TokenLogprobs] = ()
    texts: Sequence[str] = ()


class Engine(Protocol):
    """An opened artifact that answers requests together."""

    @property
    def options(self) -> frozenset[Option]:
        """What a request may ask for."""
        ...

    @property
    def context(self) -> int | None:
        """The most tokens of a prompt and its answer; None: as many as the model takes."""
        ...

    @property
    def cache(self) -> int | None:
        """The tokens of all prompts and answers that its KV cache holds at the same time; None: without a limit."""
        ...

    @property
    def vocabulary(self) -> int | None:
        """The number of ids that it knows; None: it refuses others itself."""
        ...

    @property
    def processes(self) -> Sequence[int]:
        """The ids of the processes that compute, besides this one."""
        ...

    def add(self, request: EngineRequest) -> None:
        """Accept a request. Raises InputError if it cannot be answered."""
        ...

    def cancel(self, number: int) -> None:
        """Forget a request; it frees its place before the next step. Unknown numbers are ignored."""
        ...

    def step(self) -> list[Produced]:
        """Run one step of the requests, usually a token of each, and return what it produced.

        An engine that computes in other processes waits for what they produce, or for a message on the channel of its
        job.
        """
        ...

    @property
    def busy(self) -> bool:
        """Whether a request is not finished."""
        ...

    def close(self) -> None:
        """Release the model."""
        ...


@runtime_checkable
class ConstrainedEngine(Engine, Protocol):
    """An engine that may be able to take plain_json_schema, which depends on the model's vocabulary."""

    def constrain(self, entries: Sequence[bytes | None]) -> str | None:
        """Return why it cannot; None if it takes such requests from now on.

        `entries` are the bytes of each id of the tokenizer, None for those that are left out of a text.
        """
        ...

    def free(self) -> None:
        """Take no such requests any more, and forget all requests: one with a schema has failed."""
        ...


@runtime_checkable
class TextEngine(Protocol):
    """An engine that decodes ids itself: what it produces has a text, used for bundles without a tokenizer.json."""

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token that it told a log-probability of."""
        ...
