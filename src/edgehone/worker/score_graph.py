"""Run a graph on the evaluation samples and keep its outputs (worker side).

Samples are fed at the workload's batch: what is quantized as it runs depends on what runs beside it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.core.errors import EdgehoneError
from edgehone.worker.backend import load_backend
from edgehone.worker.batches import MASK, Batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

# Outputs that are kept of all samples; where they are large (segmentation), fewer samples are judged.
MAX_BYTES = 1 << 30


def outputs(job: WorkerJob) -> dict[str, Any]:
    """Write each output as INDEX.npy [samples, …], in the order of facts["outputs"].

    args: backend, settings, batch. inputs: artifact, samples (a folder with samples.npz), and for a candidate
    `reference`, whose outputs and count are then asked for. Texts' outputs by token are averaged over each text.
    Raises EdgehoneError for NaN or infinity, for outputs that lack, and for shapes that are not the original's.
    """
    import numpy as np

    batches = Batches.read(job.inputs["samples"])
    wanted = _wanted(job)
    backend = require(load_backend(job), GraphBackend)
    session = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
    made: dict[str, list[NDArray[Any]]] = {}
    count, at = wanted.get("samples", batches.count), 0
    try:
        while at < count:
            # A whole batch always, for graphs whose batch is fixed; what is beyond the last sample is cut off.
            feeds = batches.around(at, job.args["batch"])
            found = _checked(_pooled(session.run(feeds), feeds), at, wanted)
            for name, array in found.items():
                made.setdefault(name, []).append(array[: count - at])
            if at == 0 and not wanted:
                size = sum(array[:1].nbytes for array in found.values())
                count = min(count, max(1, MAX_BYTES // max(1, size)))
            at = min(at + job.args["batch"], count)
            job.progress(at / count, "samples")
    finally:
        session.close()
    names = list(made)
    for index, name in enumerate(names):
        np.save(job.out / f"{index}.npy", np.concatenate(made[name]), allow_pickle=False)
    facts = {"outputs": names, "samples": at}
    (job.out / "outputs.json").write_text(json.dumps(facts), "utf-8")
    return facts


def _wanted(job: WorkerJob) -> dict[str, Any]:
    if "reference" not in job.inputs:
        return {}
    wanted: dict[str, Any] = json.loads((job.inputs["reference"] / "outputs.json").read_text("utf-8"))
    return wanted


def _pooled(found: Arrays, feeds: Arrays) -> Arrays:
    """Outputs by token [n, tokens, width] averaged over the text's own tokens: padding means nothing."""
    import numpy as np

    mask = feeds.get(MASK)
    if mask is None:
        return found
    weights = mask.astype(np.float32)[..., None]
    return {
        name: (array * weights).sum(1) / np.maximum(weights.sum(1), 1.0)
        if array.ndim == 3 and array.shape[:2] == mask.shape
        else array
        for name, array in found.items()
    }


def _checked(found: Arrays, at: int, wanted: dict[str, Any]) -> Arrays:
    """The outputs in the original's order, each finite."""
    import numpy as np

    names = wanted.get("outputs", list(found))
    if lacking := [name for name in names if name not in found]:
        raise EdgehoneError(f"the output {lacking[0]!r} is not among {', '.join(found)}")
    for name in names:
        array = np.asarray(found[name])
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
            raise EdgehoneError(
                f"the output {name!r} is NaN or infinite for sample {at + row} of those judged"
            )
    return {name: np.asarray(found[name]) for name in names}
