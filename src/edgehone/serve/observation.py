"""The observations of requests and of clients' feedback that the server passes to its observers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

Verdict = Literal["good", "bad"]


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was answered, or refused after its model was known.

    `at` is the wall clock at its end in seconds since 1970, `model` the name under which it is served. `route` and
    `tenant` are from the request's headers (see `measured.callers`), `path` is that of the operation, as
    "/v1/completions". `status` is the HTTP status; of a stream that failed after it had begun, the one that the
    request would have got; 499 if the client left. Times are in seconds: `seconds` from when the model was known to
    the end, waiting included; `first_seconds` to the first token, `token_seconds` the mean of a further one,
    `engine_seconds` for which the request held places in the engine. Tokens are counted over all choices.

    `version` is the id of the model that answered: while a challenger is served beside the one of its name, both have
    observations. It is "" for a request that counts for neither.

    `entropy` and `margin` are means of the answer in [0, 1]: the entropy as a share of the logarithm of the number of
    classes or ids, and the first minus the second probability; None where they are not known (docs/monitoring.md).
    `classes` are those that a classifier answered, one for each sample. `id` is the one in the answer, by which POST
    /v1/feedback names it; "" if it has none.

    `ids` are those of the (first) prompt and `tensors` a graph's inputs (`infer.tensor.Tensor` by name). Both belong to
    the request: they are read at once or copied, not kept.
    """

    at: float
    model: str
    status: int
    route: str = ""
    tenant: str = ""
    path: str = ""
    seconds: float = 0.0
    first_seconds: float | None = None
    token_seconds: float | None = None
    engine_seconds: float = 0.0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    entropy: float | None = None
    margin: float | None = None
    classes: Sequence[int] | None = None
    id: str = ""
    version: str = ""
    ids: Sequence[int] | None = None
    tensors: Mapping[str, Any] | None = None

    @property
    def failed(self) -> bool:
        """Whether it was not answered, and not by the client's own fault: the server was full, late or broken."""
        return self.status == 429 or self.status >= 500


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """A client's feedback on an answer; one for each sample of a batch with labels.

    `label` is what would have been right, `correct` whether a classifier answered that; `score` is in [0, 1].
    """

    id: str
    model: str
    verdict: Verdict | None = None
    label: int | None = None
    correct: bool | None = None
    score: float | None = None


@runtime_checkable
class TakesMany(Protocol):
    """An observer that takes several requests at once, which costs less."""

    def observe_all(self, seen: Sequence[Observation]) -> None:
        """Take requests in the order in which they ended."""
        ...


class Observer(Protocol):
    """An observer. Both methods are called in the server's event loop, so they must be quick."""

    def observe(self, seen: Observation) -> None:
        """Take a request."""
        ...

    def feedback(self, seen: Feedback) -> None:
        """Take a client's feedback on an answer."""
        ...
