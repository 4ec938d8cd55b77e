"""Outputs of a graph for several sets of samples, each by itself, so that a failure of one is told (worker side)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import GraphSession, WorkerJob
from edgehone.inputs.batches import Batches
from edgehone.inputs.output_sizes import joined
from edgehone.worker import sequences
from edgehone.worker.backend import load_backend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


def outputs(job: WorkerJob) -> dict[str, Any]:
    """Run the samples of each case.

    args: backend, settings, batch, cases (names). inputs: artifact, cases (a folder with a folder for each case, which
    `Batches.write` filled). Writes NAME.npz with the outputs of a case. Returns for each case samples, error (None if
    all ran) and finite, the number of samples whose outputs are finite.
    """
    backend = require(load_backend(job), GraphBackend)
    session = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
    found: dict[str, Any] = {}
    names = job.args["cases"]
    for at, name in enumerate(names):
        samples = Batches.read(job.inputs["cases"] / name)
        error, finite = None, 0
        try:
            finite = _run(session, samples, job.args["batch"], job.out / f"{name}.npz")
        except Exception as raised:  # noqa: BLE001 - a framework may raise any type; the other cases still run
            error = f"{type(raised).__name__}: {raised}"[:300]
        found[name] = {"samples": samples.count, "error": error, "finite": finite}
        job.progress((at + 1) / len(names), "samples")
    session.close()
    return found


def _run(session: GraphSession, samples: Batches, size: int, path: Path) -> int:
    import numpy as np

    run = sequences.runner(session, samples.axes)
    parts: dict[str, list[NDArray[Any]]] = {}
    for begin in range(0, samples.count, size):
        # Always a full batch, since the graph's batch may be fixed; rows beyond the last sample are cut off.
        rows = samples.judged(samples.rows(run(samples.around(begin, size)), size), begin)
        for name, array in rows.items():
            parts.setdefault(name, []).append(array[: samples.count - begin])
    whole = {name: array for output, each in parts.items() for name, array in joined(output, each).items()}
    finite = np.ones(samples.count, bool)
    for array in whole.values():
        if array.dtype.kind == "f":
            finite &= np.isfinite(array.reshape(len(array), -1)).all(1)
    with path.open("wb") as file:
        np.savez(file, **whole)  # type: ignore[arg-type]
    return int(finite.sum())
