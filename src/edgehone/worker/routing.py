"""Record which experts a mixture-of-experts model chooses on the evaluation windows (worker side).

`evaluation.routing` compares the choices of two models.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import RoutingBackend, require
from edgehone.worker.backend import load_backend

if TYPE_CHECKING:
    from edgehone.backends.sessions import WorkerJob


def routing(job: WorkerJob) -> dict[str, Any]:
    """Record the experts chosen for every token of the windows that the original was scored on.

    args: backend, settings. inputs: artifact, prepared, reference. Writes routing.npz with, by block number, the
    numbers of the experts [windows, window, k] int16, in ascending order per token. Returns blocks and tokens.
    """
    import numpy as np

    reference = json.loads((job.inputs["reference"] / "reference.json").read_text("utf-8"))
    bos, window, start = list(reference["bos"]), int(reference["window"]), int(reference["start"])
    text = window - len(bos)
    ids = json.loads((job.inputs["prepared"] / "evaluation.json").read_text("utf-8"))["ids"]
    backend = require(load_backend(job), RoutingBackend)
    session = backend.open_routing(job.inputs["artifact"], job.args.get("settings", {}), job)
    windows_by_block: dict[int, list[Any]] = {}
    try:
        for index in range(int(reference["windows"])):
            begin = start + index * text
            for block, chosen in session.routing(bos + ids[begin : begin + text]).items():
                windows_by_block.setdefault(block, []).append(np.sort(chosen, axis=1).astype(np.int16))
            job.progress((index + 1) / reference["windows"], "routing")
    finally:
        session.close()
    with (job.out / "routing.npz").open("wb") as file:
        arrays: dict[str, Any] = {
            str(block): np.stack(windows) for block, windows in windows_by_block.items()
        }
        np.savez(file, **arrays)
    return {"blocks": sorted(windows_by_block), "tokens": int(reference["windows"]) * window}
