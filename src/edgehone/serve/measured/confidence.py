"""How sure an answer is: the entropy of its distribution as a share of the largest possible, and its margin."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from edgehone.serve.model import LanguageModel, Wanted
from edgehone.serve.record import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Samples of a batch that are looked at.
_SAMPLES = 64
# The likeliest tokens that an engine is asked for.
_TOP = 10


def fill_classes(records: Sequence[Record]) -> None:
    """Compute the confidence and the classes of classifiers' answers, at once of all with as many classes."""
    by_count: dict[int, list[tuple[Record, NDArray[Any]]]] = defaultdict(list)
    for record in records:
        if record.scores is not None:
            rows = record.scores.array[:_SAMPLES]
            by_count[rows.shape[1]].append((record, rows))
            record.scores = None
    for found in by_count.values():
        _fill(found)


def _fill(found: Sequence[tuple[Record, NDArray[Any]]]) -> None:
    import numpy as np

    # Lists: for the few entries of a request, the functions of numpy take longer than those of Python.
    entropies, margins, classes = (
        one.tolist() for one in of_scores(np.concatenate([rows for _, rows in found]))
    )
    at = 0
    for record, rows in found:
        count, part = len(rows), slice(at, at := at + len(rows))
        record.classes = classes[part]
        # NaN, which scores that are no numbers give, makes the mean NaN.
        if count and not math.isnan(entropy := sum(entropies[part]) / count):
            record.entropy, record.margin = entropy, sum(margins[part]) / count


def of_scores(rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the entropy, the margin and the class of each row of scores [samples, classes]; NaN where a score is.

    Rows that are not negative and add up to 1 are probabilities; of others the softmax is taken.
    """
    import numpy as np

    # In single precision for float32 and float16: twice as fast, and within 1e-6.
    scores: NDArray[Any] = rows.astype(np.float64 if rows.dtype.itemsize > 4 else np.float32)
    is_distribution = (scores >= 0).all(1) & (abs(scores.sum(1) - 1) < 1e-3)
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = np.exp(scores - scores.max(1, keepdims=True))
        softmax = shifted / shifted.sum(1, keepdims=True)
    p = np.where(is_distribution[:, None], scores, softmax)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    entropies = np.clip(-(p * logs).sum(1) / math.log(scores.shape[1]), 0.0, 1.0)
    first_two = np.partition(p, -2, axis=1)[:, -2:]
    return entropies, np.clip(first_two[:, 1] - first_two[:, 0], 0.0, 1.0), scores.argmax(1)


def of_token(entry: Mapping[str, Any], vocabulary: int) -> tuple[float, float] | None:
    """Return the entropy and the margin of a token from the likeliest ones, as the engine returns them.

    The rest of the probability counts as one further token, so the entropy is a lower bound: that of the likeliest
    tokens, which carry most of it. None without two of them.
    """
    logs = sorted((one["logprob"] for one in entry["top_logprobs"]), reverse=True)
    if len(logs) < 2 or vocabulary < 2:
        return None
    p = [math.exp(min(0.0, one)) for one in logs]
    rest = max(0.0, 1.0 - sum(p))
    entropy = -sum(one * log for one, log in zip(p, logs, strict=True))
    entropy -= rest * math.log(rest) if rest > 0 else 0.0
    return min(1.0, max(0.0, entropy / math.log(vocabulary))), min(1.0, max(0.0, p[0] - p[1]))


class Asked(Enum):
    """Who asked the engine for the likeliest tokens of an answer."""

    NOTHING = "nobody"
    BY_CLIENT = "the client"
    BY_SERVER = "the server, to measure the confidence"


def ask(model: LanguageModel, wanted: Wanted, *, sampled: bool) -> tuple[Asked, Wanted]:
    """Return who asks for the likeliest tokens, client or server, and the request, to which the server adds them.

    An engine that does not return them (docs/monitoring.md) is not asked.
    """
    top = wanted.options.get("top_logprobs", 0)
    if top >= 2:
        return Asked.BY_CLIENT, wanted
    if not sampled or "logprobs" in wanted.options or "top_logprobs" not in model.engine.options:
        return Asked.NOTHING, wanted
    return Asked.BY_SERVER, replace(wanted, options={**wanted.options, "logprobs": 1, "top_logprobs": _TOP})
