"""Measure the exact divergence of a few matrices, rounded one at a time, to check and to scale the estimates."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.pytorch import streamed
from edgehone.backends.pytorch.matrices import Matrix, Run
from edgehone.backends.pytorch.rounding import rounding_error
from edgehone.backends.pytorch.streamed import Activations, LayerStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgehone.backends.sessions import WorkerJob

# Matrices whose exact divergence is measured, spread evenly over the ranking of the estimates.
_EXACT = 8


def measure_exactly(run: Run, matrices: Sequence[Matrix], few: int, job: WorkerJob) -> None:
    """Measure the exact divergence of some matrices, including the most sensitive one, on `few` windows.

    A rounded matrix changes nothing before its own block, so its run begins there, with the original's activations.
    """
    order = sorted(matrices, key=lambda one: -one.squares)
    some = order[:: max(1, -(-len(order) // _EXACT))]
    stream, shape = run.stream, (few, *run.inputs[0].values.shape[1:])
    states: dict[str, Activations] = {}
    with streamed.without_gradients():
        for one in some:
            if one.kind in ("embedding", "tied"):
                stream.changes = {"embeddings": _kept_error(one, run.folder)}
                states[one.name] = stream.embed(run.windows[:few], run.folder / f"{one.name}.npy")
                stream.changes = {}
        for number in range(len(stream.blocks)):
            job.progress(0.7 + 0.25 * number / len(stream.blocks), "rounding one matrix at a time")
            with stream.resident(number):
                for state in states.values():
                    for window in range(few):
                        state[window] = stream.run(number, state[window])
                for one in (one for one in some if one.block == number):
                    states[one.name] = Activations.create(run.folder / f"{one.name}.npy", shape)
                    with _changed(one, run.folder):
                        for window in range(few):
                            states[one.name][window] = stream.run(number, run.inputs[number][window])
        job.progress(0.95, "comparing")
        _divergences(run, some, states, few)


def _kept_error(one: Matrix, folder: Path) -> Any:
    """Return the rounding error of the embeddings or the head, which `estimate` keeps."""
    if one.delta is None:
        one.delta = rounding_error(one, folder)
    return one.delta


@contextmanager
def _changed(one: Matrix, folder: Path) -> Iterator[None]:
    """Round a matrix of the resident block meanwhile."""
    weights = one.module.weight.data
    one.module.weight.data = weights + rounding_error(one, folder).float()
    try:
        yield
    finally:
        one.module.weight.data = weights


def _divergences(run: Run, some: Sequence[Matrix], states: dict[str, Activations], few: int) -> None:
    """Set `exact` of each matrix from the last hidden states with it rounded."""
    stream, totals = run.stream, dict.fromkeys((one.name for one in some), 0.0)
    for window in range(few):
        expected = _log_probabilities(stream, run.inputs[-1][window])
        for one in some:
            if one.kind in ("head", "tied"):
                stream.changes = {"head": _kept_error(one, run.folder)}
            found = _log_probabilities(stream, states.get(one.name, run.inputs[-1])[window])
            stream.changes = {}
            totals[one.name] += float((expected.exp() * (expected - found)).sum(-1).double().sum())
    tokens = sum(map(len, run.windows[:few]))
    for one in some:
        # The KL divergence is never negative; negative values are rounding errors.
        one.exact = max(totals[one.name] / tokens, 0.0)


def _log_probabilities(stream: LayerStream, hidden: Any) -> Any:
    return stream.logits(stream.normalized(hidden))[0].float().log_softmax(-1)
