"""mlx-lm's continuous batching over an MLX model folder (worker side).

Two things of mlx-lm 0.31 would mix up requests:

- Its batches keep each request's sampler in a list that stays as it was when a request leaves, if all requests of the
  batch have none; the next one that joins then gets another's. The same holds for processors of logits. So every
  request has both.
- It fills up shorter prompts that it reads together with padding, which recurrent states (mamba) take in. Prompts of
  models with such states are read one after another.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.mlx.session import open_model
from edgehone.backends.serving import EngineRequest, Option, Produced, TokenLogprobs
from edgehone.backends.shared.ids import check_ids
from edgehone.core.errors import ModelError

# Below this temperature its reciprocal times a logit may exceed float32; the likeliest token is then drawn anyway.
_LEAST_TEMPERATURE = 1e-4


class MlxEngine:
    """A batch generator of mlx-lm. Its prompts are read in parts, between which the other requests get tokens."""

    options: frozenset[Option] = frozenset({
        "temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty", "frequency_penalty",
        "presence_penalty", "logprobs", "top_logprobs",
    })  # fmt: skip

    processes: tuple[int, ...] = ()

    def __init__(self, folder: Path, settings: Mapping[str, Any], places: int, context: int) -> None:
        """Load the model for up to `places` requests at the same time, of up to `context` tokens each.

        Every cache of a batch is as long as the longest of them, so memory is bounded by both. Raises ModelError for
        an architecture whose cache mlx-lm does not batch.
        """
        from mlx_lm.generate import BatchGenerator
        from mlx_lm.models.cache import KVCache, RotatingKVCache, make_prompt_cache

        self.context: int | None = context
        self.cache: int | None = context * places
        model, self.vocabulary = open_model(folder, settings)
        caches = make_prompt_cache(model)
        if unable := {type(one).__name__ for one in caches if not hasattr(one, "merge")}:
            raise ModelError(
                f"mlx-lm does not batch requests to this architecture: {', '.join(sorted(unable))}"
            )
        padded = all(isinstance(one, (KVCache, RotatingKVCache)) for one in caches)
        self._generator = BatchGenerator(
            model, completion_batch_size=places, prefill_batch_size=min(places, 8) if padded else 1
        )
        self._requests: dict[int, tuple[EngineRequest, _Logprobs]] = {}  # by the generator's own numbers

    def add(self, request: EngineRequest) -> None:
        """Accept a request. Raises InputError for ids outside the vocabulary."""
        from mlx_lm.generate import SequenceStateMachine

        check_ids(request.ids, self.vocabulary)
        ends = {"normal": [((end,), None) for end in request.ends]} if request.ends else {}
        logprobs = _Logprobs(request.options)
        (own,) = self._generator.insert(
            [list(request.ids)],
            [request.count],
            samplers=[_sampler(request.options, self.vocabulary)],
            logits_processors=[[logprobs, *_penalties(request)]],
            state_machines=[SequenceStateMachine(ends)],
        )
        self._requests[own] = request, logprobs

    def cancel(self, number: int) -> None:
        """Remove a request from its batch."""
        for own in [own for own, (request, _) in self._requests.items() if request.number == number]:
            self._generator.remove([own])
            del self._requests[own]

    @property
    def busy(self) -> bool:
        """Whether a request is not finished."""
        return bool(self._requests)

    def step(self) -> list[Produced]:
        """Generate a token of each request whose prompt was read, and read a part of the other prompts."""
        _, responses = self._generator.next()
        produced = []
        for one in responses:
            request, logprobs = self._requests[one.uid]
            told = logprobs.take(int(one.token))
            ids = [] if one.token in request.ends else [int(one.token)]
            produced.append(Produced(request.number, ids, one.finish_reason, logprobs=told[: len(ids)]))
            if one.finish_reason:
                del self._requests[one.uid]
        return produced

    def close(self) -> None:
        """Forget all requests and release the model."""
        self._requests.clear()
        self._generator.close()
        self._generator = None


class _Logprobs:
    """A processor of logits that changes nothing and keeps those of each step, before penalties, if they are asked for.

    It is the first of every request: see the head of this module.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._asked, self._top = bool(options.get("logprobs")), int(options.get("top_logprobs") or 0)
        self._rows: deque[Any] = deque()

    def __call__(self, tokens: Any, logits: Any) -> Any:
        """Keep the log-probabilities of a step."""
        import mlx.core as mx

        if self._asked:
            row = logits.astype(mx.float32)
            self._rows.append(row - mx.logsumexp(row, axis=-1, keepdims=True))
        return logits

    def take(self, token: int) -> list[TokenLogprobs]:
        """Return those of the first step that was not taken yet, which gave this token."""
        import numpy as np

        if not self._asked:
            return []
        row = np.array(self._rows.popleft())[0]
        likeliest = np.argsort(-row, kind="stable")[: self._top]
        return [TokenLogprobs(token, float(row[token]), [(int(one), float(row[one])) for one in likeliest])]


def _sampler(options: Mapping[str, Any], vocabulary: int) -> Callable[[Any], Any]:
    """Return a function from log-probabilities [1, vocabulary] to a token.

    It is mlx-lm's sampler, in its order, with random numbers of its own: what other requests draw changes nothing.
    """
    import mlx.core as mx
    from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p

    temperature = float(options.get("temperature") or 0)
    if temperature < _LEAST_TEMPERATURE:
        return lambda logprobs: mx.argmax(logprobs, axis=-1)
    top_p, min_p, top_k = (options.get(name) or 0 for name in ("top_p", "min_p", "top_k"))
    seed = options.get("seed")
    key = mx.random.key(secrets.randbits(31) if seed is None else seed)

    def draw(logprobs: Any) -> Any:
        nonlocal key
        if 0 < top_p < 1:
            logprobs = apply_top_p(logprobs, top_p)
        if min_p:
            logprobs = apply_min_p(logprobs, min_p)
        if 0 < top_k < vocabulary:
            logprobs = apply_top_k(logprobs, top_k)
        key, now = mx.random.split(key)
        return mx.random.categorical(logprobs * (1 / temperature), key=now)

    return draw


def _penalties(request: EngineRequest) -> list[Callable[[Any, Any], Any]]:
    """Return mlx-lm's penalties, over the request's whole text."""
    from mlx_lm.sample_utils import make_logits_processors

    given, whole = request.options, len(request.ids) + request.count
    penalty = given.get("repetition_penalty")
    found: list[Callable[[Any, Any], Any]] = make_logits_processors(
        repetition_penalty=penalty if penalty != 1 else None,
        repetition_context_size=whole,
        presence_penalty=given.get("presence_penalty"),
        presence_context_size=whole,
        frequency_penalty=given.get("frequency_penalty"),
        frequency_context_size=whole,
    )
    return found
