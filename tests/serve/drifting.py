"""Streams of requests for the tests of drift, and a watch that is fed with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgehone.drift import ReferenceBuilder, Sample
from edgehone.serve.drift import features
from edgehone.serve.drift.evaluated import Evaluated
from edgehone.serve.drift.model_watch import DriftRules, ModelWatch
from edgehone.serve.observation import Observation

RULES = DriftRules(requests=600)
NOTHING = Evaluated(None, False, "nothing is known")


def prompts(seed: int, mean: float = 40.0, low: int = 0, high: int = 900) -> Iterator[Sample]:
    """Yield requests to a language model."""
    random = np.random.default_rng(seed)
    while True:
        size = int(random.poisson(mean)) + 1
        ids = (low + (high - low) * random.beta(1, 4, size)).astype(int).tolist()
        yield Sample(ids=ids, answer_length=16, seconds=float(random.gamma(20, 0.01)))


def images(seed: int, gain: float = 1.0) -> Iterator[Sample]:
    """Yield requests to a graph."""
    random = np.random.default_rng(seed)
    while True:
        (one,) = features.describe({"x": gain * random.normal(size=(1, 8))}, {})
        yield Sample(
            features=one.features, entropy=float(random.beta(2, 8)), seconds=float(random.gamma(20, 0.01))
        )


def evaluated(seed: int = 1, *, counts: bool = True, correct: float | None = None) -> Evaluated:
    """What an evaluation of a graph on 1,000 samples knows."""
    random, builder = np.random.default_rng(seed), ReferenceBuilder()
    for one in take(images(seed), 1000):
        right = None if correct is None else bool(random.random() < correct)
        builder.add(Sample(features=one.features, entropy=one.entropy, correct=right))
    return Evaluated(builder.build(), counts, "", features.names(["x"]))


def take(stream: Iterator[Sample], count: int) -> Iterator[Sample]:
    return (next(stream) for _ in range(count))


def feed(watch: ModelWatch, stream: Iterator[Sample], count: int) -> int | None:
    """Give requests to a watch; return after how many an alarm came."""
    for number in range(count):
        watch.observe([next(stream)])
        if watch.alarm("any"):
            return number + 1
    return None


def observed(**more: Any) -> Observation:
    return Observation(at=0.0, model="m", status=more.pop("status", 200), **more)


def served(digest: str = "digest", **axes: int) -> Any:
    """A model as far as the observer looks at it."""
    manifest = SimpleNamespace(digest=digest, axes={"inputs": axes})
    return SimpleNamespace(
        problem=None,
        name="m",
        id="m-1",
        served=SimpleNamespace(bundle=SimpleNamespace(manifest=manifest, path=Path("/nowhere"))),
    )
