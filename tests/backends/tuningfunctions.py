"""What a session makes of settings, in a backend's real environment."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

from edgehone.backends.sessions import WorkerJob


def probe(job: WorkerJob) -> dict[str, Any]:
    """For each of args["settings"]: the ids generated, and how far its logits are from those of the first."""
    import numpy as np

    backend = importlib.import_module(job.args["module"])
    ids = [int(i) for i in job.args["ids"]]
    found, first = [], None
    for settings in job.args["settings"]:
        session = backend.open_session(
            job.inputs["artifact"], settings, replace(job, threads=settings.get("threads", job.threads))
        )
        logits = np.concatenate(list(session.score(ids)))
        first = logits if first is None else first
        made = session.generate(ids, 4)
        session.close()
        found.append({"ids": made.ids, "far": float(np.abs(logits - first).max())})
    return {"found": found}
