"""Simulated requests to a language model, as columns of numbers. numpy only: the peers' environments read it too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Columns = dict[str, Any]
# Values that a peer watches, one detector each.
VALUES = ("length", "answer_length", "entropy", "margin", "seconds", "first_seconds", "failed")
_CYCLE = 2000


def latent(random: np.random.Generator, count: int, family: str) -> Any:
    """Return normal numbers of variance 1 that drive the lengths of prompts.

    independent; sessions: of 10 requests on average, whose mean explains half of the variance; daily: a sine wave of
    0.3 standard deviations with a period of 2,000 requests.
    """
    noise = random.normal(size=count)
    if family == "independent":
        return noise
    if family == "sessions":
        session = np.cumsum(random.random(count) < 0.1)
        return np.sqrt(0.5) * (random.normal(size=session[-1] + 1)[session] + noise)
    assert family == "daily", family
    angle = 2 * np.pi * (np.arange(count) / _CYCLE + random.random())
    return noise * np.sqrt(1 - 0.045) + 0.3 * np.sin(angle)


def requests(random: np.random.Generator, count: int, family: str) -> Columns:
    """Return clean requests. With sessions, load varies as well and makes latencies depend on each other."""
    z, load = latent(random, count, family), latent(random, count, family)
    entropy = random.beta(2, 5, count)
    answer = random.geometric(1 / 40, count).clip(1, 256)
    return {
        "z": z,
        "answer_length": answer,
        "entropy": entropy,
        "margin": np.clip(1 - entropy + random.normal(0, 0.1, count), 0, 1),
        "seconds": 0.02 * answer * np.exp(0.3 * load),
        "first_seconds": 0.05 * np.exp(0.4 * load),
        "failed": random.random(count) < 0.005,
        "correct": random.random(count) < 0.8,
        "labelled": random.random(count) < 0.1,
        "language": random.choice(4, count, p=(0.85, 0.1, 0.04, 0.01)),
        "prompt": random.integers(0, 4096, count),
    }


def length(columns: Columns) -> Any:
    """Return the lengths of the prompts in tokens: log-normal, median 20."""
    return np.exp(3 + 0.6 * columns["z"]).astype(np.int64) + 1


def change(kind: str, at: int) -> Callable[[np.random.Generator, Columns], None]:
    """Return a function that changes the requests from `at` on."""
    return lambda random, columns: CHANGES[kind](random, columns, slice(at, None), len(columns["z"]) - at)


def _longer(_: np.random.Generator, c: Columns, late: slice, n: int) -> None:
    c["z"][late] += 0.5


def _ramp(_: np.random.Generator, c: Columns, late: slice, n: int) -> None:
    c["z"][late] += np.minimum(np.arange(n) / 10_000, 1)


def _errors(random: np.random.Generator, c: Columns, late: slice, n: int) -> None:
    c["failed"][late] = random.random(n) < 0.05


def _all_fail(_: np.random.Generator, c: Columns, late: slice, n: int) -> None:
    c["failed"][late] = True


def _wrong(random: np.random.Generator, c: Columns, late: slice, n: int) -> None:
    c["correct"][late] = random.random(n) < 0.6


def _slow(_: np.random.Generator, c: Columns, late: slice, n: int) -> None:
    c["seconds"][late] *= 1.5
    c["first_seconds"][late] *= 1.5


def _languages(random: np.random.Generator, c: Columns, late: slice, n: int) -> None:
    c["language"][late] = random.choice(4, n, p=(0.55, 0.1, 0.3, 0.05))


def _vocabulary(random: np.random.Generator, c: Columns, late: slice, n: int) -> None:
    c["prompt"][late] = np.where(random.random(n) < 0.3, random.integers(4096, 4608, n), c["prompt"][late])


def _unsure(random: np.random.Generator, c: Columns, late: slice, n: int) -> None:
    c["entropy"][late] += 0.5 * 0.16 * (1 - c["entropy"][late])


def _uncoupled(random: np.random.Generator, c: Columns, late: slice, n: int) -> None:
    c["margin"][late] = random.permutation(c["margin"][late])


CHANGES: dict[str, Callable[[np.random.Generator, Columns, slice, int], None]] = {
    "prompts longer by 0.5 standard deviations": _longer,
    "prompts longer, a ramp of 1 standard deviation in 10,000 requests (poisoning)": _ramp,
    "failures 0.5 % to 5 %": _errors,
    "all requests fail": _all_fail,
    "correct answers 80 % to 60 % (labels of 10 % of the requests)": _wrong,
    "1.5 times slower": _slow,
    "a language 4 % to 30 %": _languages,
    "30 % of the prompts from another vocabulary": _vocabulary,
    "answers less certain": _unsure,
    "entropy and margin no longer related, each distributed as before": _uncoupled,
}


def value(random: np.random.Generator, count: int, family: str, shift_at: int | None = None) -> Any:
    """Return one stream of values, shifted from `shift_at` by 0.5 standard deviations.

    normal; log-normal (σ = 1, as lengths and latencies are; the log is shifted); failures: 10 % ones, then 25 %;
    sessions: normal, dependent.
    """
    shift = np.zeros(count)
    if shift_at is not None:
        shift[shift_at:] = 0.5
    if family == "failures":
        return (random.random(count) < 0.1 + 0.3 * shift).astype(float)
    z = latent(random, count, "sessions" if family == "sessions" else "independent") + shift
    return np.exp(z) if family == "log-normal" else z
