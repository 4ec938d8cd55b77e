"""What drift detection compares requests with: sketches of the evaluation samples, written beside the certificate.

For graphs the moments of the evaluation samples, the confidence of the answers, and whether they were right. For
language models prompts as the workload has them, cut from the evaluation text. `serve.drift.evaluated` says what each
is good for.
Latencies are not in it: they were measured without the load that a server has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgehone.certify.found import Skipped
from edgehone.certify.graph_runs import CLEAN, GraphRuns, graph_runs
from edgehone.certify.subject import Subject
from edgehone.core.errors import EdgehoneError
from edgehone.drift import ReferenceBuilder, Sample
from edgehone.execution.job import Input
from edgehone.inputs import texts
from edgehone.model.digest import digest_file
from edgehone.serve.drift.evaluated import Evaluated
from edgehone.serve.drift.features import describe, names
from edgehone.serve.measured.confidence import of_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PROMPTS = 1024
# Samples of an evaluation are in the order of their file, often by class. They are shuffled, so that their order does
# not pass for that of requests.
_SEED = 18


def drift_reference(subject: Subject) -> Evaluated:
    """Return the statistics of the evaluation, or why there are none."""
    try:
        return _language(subject) if subject.is_language else _graph(subject)
    except (EdgehoneError, Skipped) as error:
        return Evaluated(None, False, str(error))


def _language(subject: Subject) -> Evaluated:
    work = subject.bundle.decision.workload
    text = subject.sources.evaluation or texts.shipped("evaluation")
    found = subject.run(
        "edgehone.worker.profile_workload:prompts",
        {"count": work["prompt_tokens"], "prompts": _PROMPTS},
        {"text": Input(text, digest_file(text))},
    ).facts["prompts"]
    builder = ReferenceBuilder()
    for ids in found:
        builder.add(Sample(ids=ids))
    reason = (
        "prompts of the evaluation are cut from a text to one length, so real ones differ without any drift"
    )
    return Evaluated(builder.build(), False, reason)


def _graph(subject: Subject) -> Evaluated:
    import numpy as np

    runs = subject.once(graph_runs)
    samples = list(_samples(runs))
    builder = ReferenceBuilder()
    for at in np.random.default_rng(_SEED).permutation(len(samples)):
        builder.add(samples[at])
    return Evaluated(builder.build(), True, "", names([*runs.samples.arrays]))


def _samples(runs: GraphRuns) -> Iterator[Sample]:
    arrays = runs.samples.arrays
    confidence = _confidence(runs)
    correct = runs.correct(CLEAN)
    for at in range(runs.samples.count):
        # Batches have their samples on the first axis, whatever the layout of the inputs is.
        (described,) = describe({name: array[at : at + 1] for name, array in arrays.items()}, {})
        entropy, margin = (None, None) if confidence is None else (confidence[0][at], confidence[1][at])
        yield Sample(
            ids=described.ids,
            features=described.features,
            entropy=entropy,
            margin=margin,
            correct=None if correct is None else bool(correct[1][at]),
        )


def _confidence(runs: GraphRuns) -> tuple[Sequence[float], Sequence[float]] | None:
    """Return entropy and margin of each answer of the candidate; None for a graph that is no classifier."""
    import numpy as np

    name = next((one.name for one in runs.roles if one.role == "classes"), None)
    if name is None:
        return None
    scores: NDArray[Any] = runs.outputs(CLEAN)[name]
    if scores.ndim != 2 or not np.isfinite(scores).all():
        return None
    entropies, margins, _ = of_scores(scores)
    return entropies.tolist(), margins.tolist()
