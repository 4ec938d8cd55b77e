"""Record which experts a mixture of experts chooses for the evaluation windows; `evaluation.routing` compares."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import RoutingBackend, require
from edgehone.worker.backend import load_backend

if TYPE_CHECKING:
    from edgehone.backends.sessions import WorkerJob


def routing(job: WorkerJob) -> dict[str, Any]:
    """Note the experts chosen for every token of the windows that the original was scored on.

    args: backend, settings. inputs: artifact, prepared, reference. File: routing.npz with, by the block's number,
    the experts' numbers [windows, window, k] int16, those of a token in rising order.
    """
    import numpy as np

    kept = json.loads((job.inputs["reference"] / "reference.json").read_text("utf-8"))
    bos, window, start = list(kept["bos"]), int(kept["window"]), int(kept["start"])
    text = window - len(bos)
    ids = json.loads((job.inputs["prepared"] / "evaluation.json").read_text("utf-8"))["ids"]
    backend = require(load_backend(job), RoutingBackend)
    session = backend.open_routing(job.inputs["artifact"], job.args.get("settings", {}), job)
    found: dict[int, list[Any]] = {}
    try:
        for index in range(int(kept["windows"])):
            begin = start + index * text
            for block, chosen in session.routing(bos + ids[begin : begin + text]).items():
                found.setdefault(block, []).append(np.sort(chosen, axis=1).astype(np.int16))
            job.progress((index + 1) / kept["windows"], "routing")
    finally:
        session.close()
    with (job.out / "routing.npz").open("wb") as file:
        named: dict[str, Any] = {str(block): np.stack(windows) for block, windows in found.items()}
        np.savez(file, **named)
    return {"blocks": sorted(found), "tokens": int(kept["windows"]) * window}
