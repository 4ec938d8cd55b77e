"""Streams watched by edgehone: alarms, delays, cost."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from benchmarks.drifting import streams
from edgehone.drift import DriftWatch, Reference, ReferenceBuilder, Sample

REFERENCE = 2000
# Daily cycles are in the reference four times.
REFERENCE_DAILY = 8000
AT = 2000
# The server takes requests together once a second: so many at 100 a second.
TOGETHER = 100
_TEXTS = (
    "What is the best way to peel an orange?", "Quel est le meilleur moyen de peler une orange pour vous ?",
    "Wie ist das mit der Orange, und was kann ich nicht essen?", "как лучше всего очистить апельсин",
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What a watch found in one stream. `delay` is None without an alarm, negative for a false one."""

    delay: int | None
    first: str
    since: int | None
    words: str


def clean(seed: int, family: str, count: int) -> Seen:
    """Watch a clean stream; every stream has a reference of its own."""
    return _watch(seed, family, count, None)


def changed(seed: int, kind: str, count: int, family: str = "independent") -> Seen:
    """Watch a stream that changes after AT requests."""
    return _watch(seed, family, AT + count, kind)


def _watch(seed: int, family: str, count: int, kind: str | None) -> Seen:
    random = np.random.default_rng(seed)
    size = REFERENCE_DAILY if family == "daily" else REFERENCE
    watch = DriftWatch(reference(random, size, family))
    columns = streams.requests(random, count, family)
    if kind is not None:
        streams.change(kind, AT)(random, columns)
    for number, sample in enumerate(samples(columns)):
        watch.observe(sample)
        if number % 32 == 31 and watch.signal.alarm:
            found = watch.signal
            first = max((one for one in found.evidence if one.alarm), key=lambda one: one.log10 - one.needed)
            return Seen(number + 1 - (AT if kind else 0), first.name, found.since, first.changed)
    return Seen(None, "", None, "")


def reference(random: np.random.Generator, size: int, family: str) -> Reference:
    """Return a reference of clean traffic."""
    builder = ReferenceBuilder()
    for sample in samples(streams.requests(random, size, family)):
        builder.add(sample, traffic=True)
    return builder.build()


def samples(columns: streams.Columns) -> Iterator[Sample]:
    """Yield the requests of a stream."""
    bank = _bank()
    names = (
        "answer_length",
        "entropy",
        "margin",
        "seconds",
        "first_seconds",
        "failed",
        "correct",
        "labelled",
    )
    listed = [columns[name].tolist() for name in names]
    more = [columns[name].tolist() for name in ("language", "prompt")]
    for length, answer, entropy, margin, seconds, first, failed, correct, labelled, language, prompt in zip(
        streams.length(columns).tolist(), *listed, *more, strict=True
    ):
        yield Sample(
            ids=bank[prompt][:length],
            length=length,
            answer_length=answer,
            entropy=entropy,
            margin=margin,
            seconds=seconds,
            first_seconds=first,
            failed=failed,
            correct=correct if labelled else None,
            text=_TEXTS[language],
        )


@cache
def _bank() -> list[list[int]]:
    """Return 4,096 prompts of one vocabulary, with Zipf's frequencies, and 512 of another."""
    random = np.random.default_rng(1)
    usual = random.zipf(1.3, (4096, 128)) % 32000
    other = 16000 + random.zipf(1.3, (512, 128)) % 16000
    return [*usual.tolist(), *other.tolist()]


def one_value(seed: int, family: str, count: int, shift_at: int | None, tolerance: float) -> float:
    """Return after how many values an alarm is raised by a watch of nothing else, infinity if it is not."""
    random = np.random.default_rng(seed)
    name = "errors" if family == "failures" else "latency" if family == "log-normal" else "features"
    builder = ReferenceBuilder()
    for value in streams.value(random, REFERENCE, family).tolist():
        builder.add(_sample(name, value), traffic=True)
    watch = DriftWatch(builder.build((name,), {name: tolerance}))
    for number, value in enumerate(streams.value(random, count, family, shift_at).tolist()):
        watch.observe(_sample(name, value))
        if number % 32 == 31 and watch.signal.alarm:
            return number + 1
    return math.inf


def _sample(name: str, value: float) -> Sample:
    if name == "errors":
        return Sample(failed=value > 0, length=1)
    return Sample(seconds=value) if name == "latency" else Sample(features=(value,))


def cost(count: int) -> dict[str, Any]:
    """Return processor time per request of a whole watch in microseconds, of 9 runs, and sizes in bytes."""
    random = np.random.default_rng(0)
    made = reference(random, REFERENCE, "independent")
    watch = DriftWatch(made)
    stream = list(samples(streams.requests(random, count, "independent")))
    runs = []
    for _ in range(9):
        start = time.process_time()
        for at in range(0, count, TOGETHER):
            watch.observe_all(stream[at : at + TOGETHER])
        runs.append((time.process_time() - start) / count * 1e6)
    start = time.process_time()
    state = json.dumps(watch.to_json())
    return {
        "us_least": min(runs),
        "us_median": float(np.median(runs)),
        "values": len(made.names),
        "reference_bytes": len(json.dumps(made.to_json())),
        "state_bytes": len(state),
        "state_ms": (time.process_time() - start) * 1e3,
    }
