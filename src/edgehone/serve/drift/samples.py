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
    inputs = [one.tensors if one.tensors and _tells(one) else {} for one in seen]
    described = describe_all(inputs, axes) if any(inputs) else [[]] * len(seen)
    return [_samples(one, found) for one, found in zip(seen, described, strict=True)]


def _tells(seen: Observation) -> bool:
    return seen.status < 400 or (seen.failed and seen.status != _FULL)


def _samples(seen: Observation, described: Sequence[Described]) -> list[Sample]:
    if not _tells(seen):
        return []
    head = described[0] if described else Described(None, None)
    ids, failed = head.ids if seen.ids is None else seen.ids, seen.failed
    # In the order of the fields: by names it takes twice as long.
    first = Sample(
        ids,
        head.features,
        0 if ids is None else len(ids),
        0 if failed else seen.generated_tokens,
        seen.entropy,
        seen.margin,
        None if failed else seen.seconds,
        None if failed else seen.first_seconds,
        failed,
    )
    return [first, *(Sample(ids=one.ids, features=one.features) for one in described[1:])]


def as_evaluated(requests: Sequence[Sequence[Sample]]) -> list[Sample]:
    """Return the samples of requests with what an evaluation can know.

    Times, failures and answers' lengths, which vary with load, are left out, and the confidence of a batch: it is the
    mean of its samples, which varies less than that of one.
    """
    found = []
    for samples in requests:
        alone = len(samples) == 1
        for ids, features, length, _, entropy, margin, _, _, failed, *_ in samples:
            if not failed:
                sure = (entropy, margin) if alone else (None, None)
                found.append(Sample(ids, features, length, 0, *sure))
    return found
