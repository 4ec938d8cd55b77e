"""The engine of the null backend: a token of each request takes as long as a token of one, in real time."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Literal

from edgehone.backends.null.drawing import draw
from edgehone.backends.null.faults import Faults
from edgehone.backends.null.instance import smallest
from edgehone.backends.serving import EngineRequest, Option, Produced, TokenLogprobs
from edgehone.backends.sessions import Sampling
from edgehone.backends.shared.ids import check_ids
from edgehone.core.errors import InputError, JobError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_GREEDY = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 0}


class NullEngine:
    """Answers up to `places` requests at a time, the others in their order."""

    options: frozenset[Option] = frozenset({
        "temperature", "top_p", "top_k", "seed", "repetition_penalty", "logprobs", "top_logprobs", "json_schema"
    })  # fmt: skip

    context: int | None = None
    processes: tuple[int, ...] = ()

    def __init__(
        self,
        table: NDArray[np.float32],
        pace: float,
        places: int,
        faults: Faults,
        cache: int | None = None,
        *,
        keeps_prefixes: bool = True,
    ) -> None:
        """`table` has the logits after each id, `pace` is the seconds of a step.

        `cache` is the number of tokens that all requests may have together; beyond it requests fail. An engine
        that does not keep prefixes takes a tenth of a step for each id of a prompt.
        """
        self._table, self._pace, self._places, self.cache = table, pace, places, cache
        self._faults, self._read_pace = faults, 0.0 if keeps_prefixes else pace / 10
        self.vocabulary = len(table)
        self._running: dict[int, _Answer] = {}

    def add(self, request: EngineRequest) -> None:
        """Accept a request. Raises InputError for ids outside the vocabulary."""
        check_ids(request.ids, len(self._table))
        held = sum(len(one.request.ids) + one.request.count for one in self._running.values())
        if self.cache is not None and held + len(request.ids) + request.count > self.cache:
            raise JobError(f"the KV cache of {self.cache} tokens is full")
        self._faults.read_prompt(list(request.ids), 1 + len(self._running))
        time.sleep(self._read_pace * len(request.ids))
        self._running[request.number] = _Answer(request)

    def cancel(self, number: int) -> None:
        """Forget a request."""
        self._running.pop(number, None)

    @property
    def busy(self) -> bool:
        """Whether a request is not finished."""
        return bool(self._running)

    def step(self) -> list[Produced]:
        """Produce a token of each of the first requests."""
        time.sleep(self._pace)
        self._faults.step()
        table = self._table[:, ::-1] if self._faults.wanders() else self._table
        produced = [answer.advance(table) for answer in list(self._running.values())[: self._places]]
        for one in produced:
            if one.reason:
                self._faults.answered += 1
                del self._running[one.number]
        return produced

    def close(self) -> None:
        """Forget all requests."""
        self._running.clear()


class _Answer:
    """A request and its text so far."""

    def __init__(self, request: EngineRequest) -> None:
        import numpy as np

        self.request, self.last, self.made = request, request.ids[-1], 0
        self.seen = set(request.ids)
        given = {name: value for name, value in request.options.items() if name in _GREEDY}
        self.sampling = Sampling(**{**_GREEDY, **given})
        self.random = np.random.default_rng(self.sampling.seed)
        schema = request.options.get("json_schema")
        # Instead of drawing, the smallest text that satisfies a schema is written.
        self.written = None if schema is None else _written(schema)

    def advance(self, table: NDArray[np.float32]) -> Produced:
        """Draw the next token."""
        logits = table[self.last].astype("float64")
        row = logits.copy()
        if self.written is None:
            self.last = draw(logits, self.seen, self.sampling, self.random)
        else:
            self.last = self.written[self.made]
        self.seen.add(self.last)
        self.made += 1
        number = self.request.number
        if self.written is not None and self.made == len(self.written):
            return Produced(number, [self.last], "stop", logprobs=self._logprobs(row))
        if self.last in self.request.ends:
            return Produced(number, [], "stop")
        reason: Literal["length"] | None = "length" if self.made == self.request.count else None
        return Produced(number, [self.last], reason, logprobs=self._logprobs(row))

    def _logprobs(self, logits: NDArray[np.float64]) -> list[TokenLogprobs]:
        import numpy as np

        if not self.request.options.get("logprobs"):
            return []
        logits = logits - logits.max()
        logits -= np.log(np.exp(logits).sum())
        likeliest = np.argsort(-logits, kind="stable")[: self.request.options.get("top_logprobs", 0)]
        return [
            TokenLogprobs(
                self.last, float(logits[self.last]), [(int(i), float(logits[i])) for i in likeliest]
            )
        ]


def _written(schema: Any) -> bytes:
    try:
        return json.dumps(smallest(schema), ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, AttributeError, KeyError, UnicodeEncodeError, RecursionError) as error:
        raise InputError(f"the null backend does not know this JSON schema: {error!r}") from error
