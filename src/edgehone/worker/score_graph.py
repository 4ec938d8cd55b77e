"""Run a graph on the evaluation samples and store its outputs (worker side).

Samples are run with the workload's batch size, because dynamic quantization depends on the other samples of a batch.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.worker.backend import load_backend
from edgehone.worker.batches import MASK, Batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

# Limit for the stored outputs. If outputs are large (segmentation), fewer samples are evaluated.
MAX_BYTES = 1 << 30


def outputs(job: WorkerJob) -> dict[str, Any]:
    """Write each output as INDEX.npy [samples, …], in the order of facts["outputs"].

    args: backend, settings, batch. inputs: artifact, samples (a folder with samples.npz), and for a candidate
    `reference`, which determines the outputs and the number of samples. Outputs per token are averaged over each
    text. Returns outputs (names) and samples (number). Raises EdgehoneError for NaN or infinity, and for missing
    outputs.
    """
    import numpy as np

    batches = Batches.read(job.inputs["samples"])
    reference = _reference_facts(job)
    backend = require(load_backend(job), GraphBackend)
    session = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
    parts_by_name: dict[str, list[NDArray[Any]]] = {}
    count, at = reference.get("samples", batches.count), 0
    try:
        while at < count:
            # Always run a full batch, since the graph's batch may be fixed; rows beyond the last sample are cut off.
            feeds = batches.around(at, job.args["batch"])
            results = _checked(_pooled(session.run(feeds), feeds), at, reference)
            for name, array in results.items():
                parts_by_name.setdefault(name, []).append(array[: count - at])
            if at == 0 and not reference:
                size = sum(array[:1].nbytes for array in results.values())
                count = min(count, max(1, MAX_BYTES // max(1, size)))
            at = min(at + job.args["batch"], count)
            job.progress(at / count, "samples")
    finally:
        session.close()
    names = list(parts_by_name)
    for index, name in enumerate(names):
        np.save(job.out / f"{index}.npy", np.concatenate(parts_by_name[name]), allow_pickle=False)
    facts = {"outputs": names, "samples": at}
    (job.out / "outputs.json").write_text(json.dumps(facts), "utf-8")
    return facts


def _reference_facts(job: WorkerJob) -> dict[str, Any]:
    """Return the facts of the reference's outputs; an empty dict for the reference itself."""
    if "reference" not in job.inputs:
        return {}
    facts: dict[str, Any] = json.loads((job.inputs["reference"] / "outputs.json").read_text("utf-8"))
    return facts


def _pooled(results: Arrays, feeds: Arrays) -> Arrays:
    """Average outputs per token [n, tokens, width] over each text's own tokens, without padding."""
    import numpy as np

    mask = feeds.get(MASK)
    if mask is None:
        return results
    weights = mask.astype(np.float32)[..., None]
    return {
        name: (array * weights).sum(1) / np.maximum(weights.sum(1), 1.0)
        if array.ndim == 3 and array.shape[:2] == mask.shape
        else array
        for name, array in results.items()
    }


def _checked(results: Arrays, at: int, reference: dict[str, Any]) -> Arrays:
    """Return the outputs in the original's order, after checking that all are finite."""
    import numpy as np

    names = reference.get("outputs", list(results))
    if missing := [name for name in names if name not in results]:
        raise EdgehoneError(f"the output {missing[0]!r} is not among {', '.join(results)}")
    for name in names:
        array = np.asarray(results[name])
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
            raise EdgehoneError(f"the output {name!r} is NaN or infinite for evaluation sample {at + row}")
    return {name: np.asarray(results[name]) for name in names}
