"""The facts about one answered request that the watch takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Sample(NamedTuple):
    """One answered request, as far as it is known. None, and a length of 0 without `ids`, mean "not known".

    Sequences are read within the next 32 requests and must not change until then; nothing of them is kept afterwards.
    A value that cannot be true (not finite, negative, outside [0, 1] where that is its range) is counted in
    `Signal.ignored` and treated as not known.
    """

    ids: Sequence[int] | None = None  # the prompt's token ids (language models)
    features: Sequence[float] | None = None  # a vector of fixed length (graphs: moments of the inputs)
    length: int = 0  # tokens of the prompt
    answer_length: int = 0  # tokens of the answer
    entropy: float | None = None  # mean of the answer, as a share of the largest possible, in [0, 1]
    margin: float | None = None  # first minus second probability, mean of the answer, in [0, 1]
    seconds: float | None = None  # until the answer was complete
    first_seconds: float | None = None  # until the first token
    failed: bool = False
    correct: bool | None = None  # from feedback
    text: str | None = None  # for the language only
