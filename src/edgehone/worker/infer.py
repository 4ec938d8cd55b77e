"""Run a graph on arrays: the worker's side of `edgehone run` for bundles that generate no text."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.inputs import samples
from edgehone.worker.backend import load_backend
from edgehone.worker.batches import Batches

if TYPE_CHECKING:
    pass


def infer(job: WorkerJob) -> dict[str, Any]:
    """Write all outputs of all samples to the npz file args["output"].

    args: backend, settings, inputs (the model's, as ModelInfo.to_json has them), batch, output. inputs: artifact,
    samples (an npz file). Returns samples, outputs (name → shape), seconds. InputError for arrays that don't fit.
    """
    import numpy as np

    tensors = [samples.tensor(given) for given in job.args["inputs"]]
    arrays = samples.read_arrays(job.inputs["samples"])
    arrays.pop(samples.LABELS, None)
    samples.check_arrays(arrays, tensors, str(job.inputs["samples"]), least=1)
    dtypes = {tensor.name: tensor.dtype for tensor in tensors}
    arrays = {name: array.astype(dtypes.get(name, array.dtype), copy=False) for name, array in arrays.items()}
    backend = require(load_backend(job), GraphBackend)
    session = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
    batches, batch = Batches(arrays, None), job.args["batch"]
    count = batches.count
    made: dict[str, list[Any]] = {}
    started = time.perf_counter()
    for begin in range(0, count, batch):
        # A whole batch always, for graphs whose batch is fixed; what is beyond the last sample is cut off.
        for name, array in session.run(batches.around(begin, batch)).items():
            made.setdefault(name, []).append(array[: count - begin])
    seconds = time.perf_counter() - started
    session.close()
    found = {name: np.concatenate(parts) for name, parts in made.items()}
    with Path(job.args["output"]).open("wb") as file:
        np.savez(file, **found)  # type: ignore[arg-type]
    return {
        "samples": count,
        "outputs": {name: list(array.shape) for name, array in found.items()},
        "seconds": seconds,
    }
