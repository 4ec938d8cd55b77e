"""mlx-lm's continuous batching over an MLX model folder (worker side).

Its batches keep each request's sampler in a list that stays as it was when a request leaves, if all requests of the
batch have none; the next one that joins then gets another's (mlx-lm 0.31). The same holds for processors of logits. So
every request has both.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.mlx.session import open_model
from edgehone.backends.serving import EngineRequest, Option, Produced
from edgehone.backends.shared.ids import check_ids

# Below this temperature its reciprocal times a logit may exceed float32; the likeliest token is then drawn anyway.
_LEAST_TEMPERATURE = 1e-4


class MlxEngine:
    """A batch generator of mlx-lm. Its prompts are read in parts, between which the other requests get tokens."""

    options: frozenset[Option] = frozenset({
        "temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty", "frequency_penalty",
        "presence_penalty",
    })  # fmt: skip

    context: int | None = None
    processes: tuple[int, ...] = ()

    def __init__(self, folder: Path, settings: Mapping[str, Any], places: int) -> None:
        """Load the model for up to `places` requests at the same time."""
        from mlx_lm.generate import BatchGenerator

        model, self._vocabulary = open_model(folder, settings)
        self._generator = BatchGenerator(
            model, completion_batch_size=places, prefill_batch_size=min(places, 8)
        )
        self._numbers: dict[int, int] = {}  # by the generator's own
        self._ends: dict[int, frozenset[int]] = {}

    def add(self, request: EngineRequest) -> None:
        """Accept a request. Raises InputError for ids outside the vocabulary."""
        from mlx_lm.generate import SequenceStateMachine

        check_ids(request.ids, self._vocabulary)
        ends = {"normal": [((end,), None) for end in request.ends]} if request.ends else {}
        (own,) = self._generator.insert(
            [list(request.ids)],
            [request.count],
            samplers=[_sampler(request.options, self._vocabulary)],
            logits_processors=[_processors(request)],
            state_machines=[SequenceStateMachine(ends)],
        )
        self._numbers[own], self._ends[own] = request.number, request.ends

    def cancel(self, number: int) -> None:
        """Remove a request from its batch."""
        for own in [own for own, of in self._numbers.items() if of == number]:
            self._generator.remove([own])
            self._forget(own)

    @property
    def busy(self) -> bool:
        """Whether a request is not finished."""
        return bool(self._numbers)

    def step(self) -> list[Produced]:
        """Generate a token of each request whose prompt was read, and read a part of the other prompts."""
        _, responses = self._generator.next()
        produced = []
        for one in responses:
            ids = [] if one.token in self._ends[one.uid] else [int(one.token)]
            produced.append(Produced(self._numbers[one.uid], ids, one.finish_reason))
            if one.finish_reason:
                self._forget(one.uid)
        return produced

    def close(self) -> None:
        """Forget all requests and release the model."""
        self._numbers.clear()
        self._generator.close()
        self._generator = None

    def _forget(self, own: int) -> None:
        del self._numbers[own], self._ends[own]


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


def _processors(request: EngineRequest) -> list[Callable[[Any, Any], Any]]:
    """Return the penalties of a request over its whole text, or what changes nothing."""
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
    return found or [lambda tokens, logits: logits]
