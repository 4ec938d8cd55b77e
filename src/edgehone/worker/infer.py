"""Run a graph on arrays, for `edgehone run` on bundles that do not generate text (worker side)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import WorkerJob
from edgehone.inputs import samples
from edgehone.worker.backend import load_backend
from edgehone.worker.batches import Batches


def infer(job: WorkerJob) -> dict[str, Any]:
    """Write all outputs for all samples to the npz file args["output"].

    args: backend, settings, inputs (the model's, in the form of ModelInfo.to_json), batch, output. inputs: artifact,
    samples (an npz file). Returns samples (number), outputs (shape by name) and seconds. Raises InputError for
    arrays that do not fit the inputs.
    """
    import numpy as np

    tensors = [samples.tensor(description) for description in job.args["inputs"]]
    arrays = samples.read_arrays(job.inputs["samples"])
    arrays.pop(samples.LABELS, None)
    samples.check_arrays(arrays, tensors, str(job.inputs["samples"]), least=1)
    dtypes = {tensor.name: tensor.dtype for tensor in tensors}
    arrays = {name: array.astype(dtypes.get(name, array.dtype), copy=False) for name, array in arrays.items()}
    backend = require(load_backend(job), GraphBackend)
    session = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
    batches, batch = Batches(arrays, None), job.args["batch"]
    count = batches.count
    parts_by_name: dict[str, list[Any]] = {}
    started = time.perf_counter()
    for begin in range(0, count, batch):
        # Always run a full batch, since the graph's batch may be fixed; rows beyond the last sample are cut off.
        for name, array in session.run(batches.around(begin, batch)).items():
            parts_by_name.setdefault(name, []).append(array[: count - begin])
    seconds = time.perf_counter() - started
    session.close()
    outputs = {name: np.concatenate(parts) for name, parts in parts_by_name.items()}
    with Path(job.args["output"]).open("wb") as file:
        np.savez(file, **outputs)  # type: ignore[arg-type]
    return {
        "samples": count,
        "outputs": {name: list(array.shape) for name, array in outputs.items()},
        "seconds": seconds,
    }
