"""Convert the observation of a request to samples for drift detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgehone.drift import Sample
from edgehone.serve.drift.features import Described, describe_all
from edgehone.serve.observation import Observation

_FULL = 429


def samples_of(seen: Observation, axes: Mapping[str, int | None]) -> list[Sample]:
    """Return a sample for each sample of the request, at most 8; what the whole request had is told with the first.

    A request that failed by the client's own fault, whose client has left, or that was refused since too many came,
    tells nothing about the model: [].
    `axes` are those of a graph's inputs.
    """
    return samples_of_all([seen], axes)[0]


def samples_of_all(seen: Sequence[Observation], axes: Mapping[str, int | None]) -> list[list[Sample]]:
    """Return what `samples_of` does of each of several requests to one model, which costs much less."""
    arrays = [
        {name: tensor.array for name, tensor in one.tensors.items()} if one.tensors and _tells(one) else {}
        for one in seen
    ]
    described = describe_all(arrays, axes) if any(arrays) else [[]] * len(seen)
    return [_samples(one, found) for one, found in zip(seen, described, strict=True)]


def _tells(seen: Observation) -> bool:
    return seen.status < 400 or (seen.failed and seen.status != _FULL)


def _samples(seen: Observation, described: Sequence[Described]) -> list[Sample]:
    if not _tells(seen):
        return []
    first = Sample(
        ids=seen.ids,
        length=len(seen.ids) if seen.ids is not None else 0,
        answer_length=0 if seen.failed else seen.generated_tokens,
        entropy=seen.entropy,
        margin=seen.margin,
        seconds=None if seen.failed else seen.seconds,
        first_seconds=None if seen.failed else seen.first_seconds,
        failed=seen.failed,
    )
    if not described:
        return [first]
    head, *others = described
    ids = head.ids if first.ids is None else first.ids
    first = first._replace(features=head.features, ids=ids, length=len(ids) if ids is not None else 0)
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
