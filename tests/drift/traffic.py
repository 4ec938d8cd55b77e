"""Simulated requests to a language model."""

from __future__ import annotations

import numpy as np

from edgehone.drift import Reference, ReferenceBuilder, Sample


def samples(
    count: int,
    seed: int = 0,
    *,
    shift: float = 0.0,
    failing: float = 0.01,
    slow: float = 1.0,
    right: float = 0.8,
) -> list[Sample]:
    """Return requests. `shift`: of the logarithm of the length, in standard deviations; `slow`: factor of the times."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        length = int(random.lognormal(3 + 0.6 * shift, 0.6)) + 1
        made.append(
            Sample(
                ids=(random.zipf(1.3, length) % 32000).tolist(),
                length=length,
                answer_length=int(random.integers(1, 65)),
                entropy=float(random.beta(2, 5)),
                margin=float(random.beta(3, 3)),
                seconds=slow * float(random.gamma(3, 0.1)),
                first_seconds=slow * float(random.gamma(3, 0.01)),
                failed=bool(random.random() < failing),
                correct=bool(random.random() < right),
                text="What is the best way to peel an orange?",
            )
        )
    return made


def reference(count: int = 600, seed: int = 0) -> Reference:
    """Return a reference of unshifted requests."""
    builder = ReferenceBuilder()
    for one in samples(count, seed):
        builder.add(one, traffic=True)
    return builder.build()
