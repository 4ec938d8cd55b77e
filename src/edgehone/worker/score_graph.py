"""Run a graph on the evaluation samples and store its outputs (worker side).

Samples are run with the workload's batch size, because dynamic quantization depends on the other samples of a batch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.inputs.batches import MASK, Batches
from edgehone.inputs.output_sizes import joined, sized_output, sizes_name
from edgehone.model.encoder_decoder import IDS
from edgehone.worker import sequences
from edgehone.worker.backend import load_backend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

# Limit for the stored outputs. If outputs are large (segmentation), fewer samples are evaluated.
MAX_BYTES = 1 << 30
# Batches that the original runs twice.
REPEATED = 2
# The largest difference between two runs of the original, as a share of an output's largest entry. Sums in another
# order differ by about 1e-6 in float32 and 1e-3 in 16 bits; dropout and random numbers by far more than either limit.
SAME = {"float16": 1e-2}
SAME_DEFAULT = 1e-3
# Whole numbers (classes) may differ where two scores are equal but for rounding.
SAME_INTEGERS = 0.01


def outputs(job: WorkerJob) -> dict[str, Any]:
    """Write each output as INDEX.npy [samples, …], in the order of facts["outputs"].

    args: backend, settings, batch. inputs: artifact, samples (a folder that `Batches.write` filled), and for a
    candidate `reference`, which determines the outputs and the number of samples. Outputs per token are averaged over
    each text. Outputs of unequal size are padded, and their sizes are an output of their own. Returns outputs (names)
    and samples (number); for the original, whose first batches are run twice, also `differs`, the output that differed,
    as a sentence, or None. Raises EdgehoneError for NaN or infinity, and for missing outputs.
    """
    import numpy as np

    batches = Batches.read(job.inputs["samples"])
    reference = _reference_facts(job)
    backend = require(load_backend(job), GraphBackend)
    session = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
    run = sequences.runner(session, batches.axes)
    parts_by_name: dict[str, list[NDArray[Any]]] = {}
    size, differs = job.args["batch"], None
    count, at = reference.get("samples", batches.count), 0
    try:
        while at < count:
            # Always run a full batch, since the graph's batch may be fixed; rows beyond the last sample are cut off.
            feeds = batches.around(at, size)
            results = _checked(_judged(batches, run(feeds), feeds, at), at, reference)
            if not reference and at < REPEATED * size:
                again = _judged(batches, run(feeds), feeds, at)
                differs = differs or difference(results, _checked(again, at, reference))
            for name, array in results.items():
                parts_by_name.setdefault(name, []).append(array[: count - at])
            if at == 0 and not reference:
                stored = sum(array[:1].nbytes for array in results.values())
                count = min(count, max(1, MAX_BYTES // max(1, stored)))
            at = min(at + size, count)
            job.progress(at / count, "samples")
    finally:
        session.close()
    names: list[str] = []
    for name, parts in parts_by_name.items():
        for each, array in joined(name, parts, sizes_name(name) in reference.get("outputs", ())).items():
            np.save(job.out / f"{len(names)}.npy", array, allow_pickle=False)
            names.append(each)
    facts = {"outputs": names, "samples": at, "differs": differs}
    (job.out / "outputs.json").write_text(json.dumps(facts), "utf-8")
    return facts


def _judged(batches: Batches, found: Arrays, feeds: Arrays, at: int) -> Arrays:
    size = next(
        array.shape[batches.axes.of_input(name) or 0]
        for name, array in feeds.items()
        if name in batches.arrays
    )
    return _pooled(batches.judged(batches.rows(found, size), at), feeds)


def difference(first: Mapping[str, NDArray[Any]], second: Mapping[str, NDArray[Any]]) -> str | None:
    """Return, as a sentence, which output differs by more than rounding between two runs on the same inputs."""
    import numpy as np

    for name, array in first.items():
        other = second[name]
        if array.dtype.kind != "f":
            share = float(np.mean(array != other)) if array.shape == other.shape else 1.0
            if share > SAME_INTEGERS:
                return f"{share:.0%} of the entries of the output {name!r} differ"
            continue
        scale = float(np.abs(array.astype(np.float64)).max(initial=0.0)) or 1.0
        if array.shape != other.shape:
            return f"the output {name!r} has the shape {list(array.shape)}, then {list(other.shape)}"
        widest = float(np.abs(array.astype(np.float64) - other).max(initial=0.0)) / scale
        if widest > SAME.get(str(array.dtype), SAME_DEFAULT):
            return f"the output {name!r} differs by up to {widest:.2g} of its largest entry"
    return None


def _reference_facts(job: WorkerJob) -> dict[str, Any]:
    """Return the facts of the reference's outputs; an empty dict for the reference itself."""
    if "reference" not in job.inputs:
        return {}
    facts: dict[str, Any] = json.loads((job.inputs["reference"] / "outputs.json").read_text("utf-8"))
    return facts


def _pooled(results: Arrays, feeds: Arrays) -> Arrays:
    """Average outputs per token [n, tokens, width] over each text's own tokens, without padding.

    Not those of a decoder, which are for the tokens of another text.
    """
    import numpy as np

    mask = feeds.get(MASK)
    if mask is None or IDS in feeds:
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

    names = [name for name in reference.get("outputs", list(results)) if sized_output(name) is None]
    if missing := [name for name in names if name not in results]:
        raise EdgehoneError(f"the output {missing[0]!r} is not among {', '.join(results)}")
    for name in names:
        array = np.asarray(results[name])
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
            raise EdgehoneError(f"the output {name!r} is NaN or infinite for evaluation sample {at + row}")
    return {name: np.asarray(results[name]) for name in names}
