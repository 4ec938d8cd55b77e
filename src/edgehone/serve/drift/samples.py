"""From what the server observes of a request to the samples that drift detection takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgehone.drift import Sample
from edgehone.serve.drift.features import describe
from edgehone.serve.observation import Observation

_FULL, _CLIENT_LEFT = 429, 499


def samples_of(seen: Observation, axes: Mapping[str, int | None]) -> list[Sample]:
    """Return a sample for each sample of the request, at most 8; what the whole request had is told with the first.

    A request that failed by the client's own fault, or whose client has left, tells nothing about the model: [].
    `axes` are those of a graph's inputs.
    """
    if seen.status >= 400 and not seen.failed:
        return []
    first = Sample(
        ids=seen.ids,
        length=len(seen.ids) if seen.ids is not None else 0,
        answer_length=seen.generated_tokens,
        entropy=seen.entropy,
        margin=seen.margin,
        seconds=None if seen.failed else seen.seconds,
        first_seconds=None if seen.failed else seen.first_seconds,
        failed=seen.failed,
    )
    if not seen.tensors:
        return [first]
    described = describe({name: one.array for name, one in seen.tensors.items()}, axes)
    if not described:
        return [first]
    head, *others = described
    ids = head.ids if first.ids is None else first.ids
    first = replace(first, features=head.features, ids=ids, length=len(ids) if ids is not None else 0)
    return [first, *(Sample(ids=one.ids, features=one.features) for one in others)]


def as_evaluated(samples: list[Sample]) -> list[Sample]:
    """Return samples with what an evaluation can know: no times, failures and answers' lengths, which vary with load.

    The confidence of a batch is the mean of its samples, which varies less than that of one: it is left out.
    """
    alone = len(samples) == 1
    return [
        Sample(
            ids=one.ids,
            features=one.features,
            length=one.length,
            entropy=one.entropy if alone else None,
            margin=one.margin if alone else None,
        )
        for one in samples
        if not one.failed
    ]
