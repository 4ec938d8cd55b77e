"""Run a graph on arrays, for `edgehone run` on bundles that do not generate text (worker side)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import WorkerJob
from edgehone.inputs import sample_arrays, samples
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches
from edgehone.inputs.output_sizes import joined
from edgehone.worker import sequences
from edgehone.worker.backend import load_backend


def infer(job: WorkerJob) -> dict[str, Any]:
    """Write all outputs for all samples to the npz file args["output"].

    args: backend, settings, inputs (the model's, in the form of ModelInfo.to_json), axes (Axes.to_json), batch, output.
    inputs: artifact, samples (an npz file). Where sequences of one length begin with given states, the last ones are
    written, too. Outputs have zeros after the end of a sequence that is shorter than others. An output without an axis
    of samples is written for each batch. One of unequal size is padded with zeros, and "NAME (size)" has the sizes.
    Returns samples (number), outputs (shape by name) and seconds. Raises InputError for arrays that do not fit the
    inputs.
    """
    import numpy as np

    tensors = [samples.tensor(description) for description in job.args["inputs"]]
    arrays, axes = samples.read_arrays(job.inputs["samples"]), Axes.from_json(job.args["axes"])
    arrays.pop(sample_arrays.LABELS, None)
    sample_arrays.check_arrays(arrays, tensors, str(job.inputs["samples"]), axes, least=1)
    batches, batch = Batches.arranged(sample_arrays.typed(arrays, tensors), axes), job.args["batch"]
    backend = require(load_backend(job), GraphBackend)
    session = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
    run = sequences.runner(session, axes, keep_states=batches.lengths is None)
    count = batches.count
    parts_by_name: dict[str, list[Any]] = {}
    whole: dict[str, list[Any]] = {}
    started = time.perf_counter()
    for begin in range(0, count, batch):
        # Always run a full batch, since the graph's batch may be fixed; rows beyond the last sample are cut off.
        results = run(batches.around(begin, batch))
        for name, rows in batches.padded(batches.rows(results, batch), begin).items():
            if axes.of_output(name, np.shape(results[name]), batch) is None:
                whole.setdefault(name, []).append(np.asarray(results[name])[None])
            else:
                parts_by_name.setdefault(name, []).append(rows[: count - begin])
    seconds = time.perf_counter() - started
    session.close()
    outputs = {
        name: array
        for output, parts in (parts_by_name | whole).items()
        for name, array in joined(output, parts).items()
    }
    for name in parts_by_name:
        outputs[name] = np.moveaxis(outputs[name], 0, axes.outputs.get(name) or 0)
    with Path(job.args["output"]).open("wb") as file:
        np.savez(file, **outputs)  # type: ignore[arg-type]
    return {
        "samples": count,
        "outputs": {name: list(array.shape) for name, array in outputs.items()},
        "seconds": seconds,
    }
