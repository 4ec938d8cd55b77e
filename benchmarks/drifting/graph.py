"""What drift detection of a served graph costs: inputs described, and compared with evaluation and first traffic."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.drifting.ours import TOGETHER
from edgehone.drift import ReferenceBuilder
from edgehone.serve.drift.evaluated import Evaluated
from edgehone.serve.drift.features import names
from edgehone.serve.drift.model_watch import DriftRules, ModelWatch
from edgehone.serve.drift.samples import as_evaluated, samples_of_all
from edgehone.serve.infer.tensor import Tensor
from edgehone.serve.observation import Observation

_AXES = {"x": 0}
# Other data that fills the caches of most processors.
_OTHER = 6_000_000


def cost(count: int) -> dict[str, Any]:
    """Return processor time per request in µs, of 9 runs with warm caches and of 3 with other data in them."""
    random = np.random.default_rng(0)
    evaluation = ReferenceBuilder()
    for one in as_evaluated(samples_of_all(_requests(random, 1000), _AXES)):
        evaluation.add(one)
    watch = ModelWatch("digits", Evaluated(evaluation.build(), True, "", names(("x",))), DriftRules())
    watch.observe_all(samples_of_all(_requests(random, 2 * watch.rules.requests), _AXES))
    assert watch.traffic is not None and watch.evaluation is not None
    stream = _requests(random, count)
    runs = sorted(_seconds(watch, stream, None) for _ in range(9))
    other = np.ones(_OTHER)
    return {
        "us_least": runs[0] / count * 1e6,
        "us_median": runs[4] / count * 1e6,
        "us_cold": min(_seconds(watch, stream, other) for _ in range(3)) / count * 1e6,
        "values": len(watch.traffic.reference.names) + len(watch.evaluation.reference.names),
        "alarm": watch.alarm("any"),
    }


def _seconds(watch: ModelWatch, stream: list[Observation], other: Any) -> float:
    """Return the processor time of watching a stream."""
    total = 0.0
    for start in range(0, len(stream), TOGETHER):
        if other is not None:
            other += 1
        begun = time.process_time()
        watch.observe_all(samples_of_all(stream[start : start + TOGETHER], _AXES))
        total += time.process_time() - begun
    return total


def _requests(random: np.random.Generator, count: int) -> list[Observation]:
    """Return requests of one image of 64 numbers."""
    images = random.normal(size=(count, 1, 64)).astype(np.float32)
    seconds = random.gamma(20, 0.0001, count)
    sure = random.random((count, 2))
    return [
        Observation(
            at=0.0, model="digits", status=200, seconds=float(spent), entropy=float(entropy), margin=float(margin),
            tensors={"x": Tensor.of("x", image)},
        )
        for image, spent, (entropy, margin) in zip(images, seconds, sure, strict=True)
    ]  # fmt: skip
