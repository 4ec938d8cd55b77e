"""Surgery of null models, for testing what is around it."""

from __future__ import annotations

import json
import shutil
from typing import Any

from edgehone.backends.null.table import VOCABULARY
from edgehone.backends.sessions import (
    WorkerJob,
)


def measure(job: WorkerJob) -> dict[str, Any]:
    """How many calibration ids there are."""
    ids = json.loads((job.inputs["calibration"] / "ids.json").read_text("utf-8"))
    (job.out / "measured.json").write_text(json.dumps(len(ids)), "utf-8")
    return {"ids": len(ids)}


def sharpen(job: WorkerJob) -> dict[str, Any]:
    """The same model with every log-probability times `factor`."""
    import numpy as np

    assert json.loads((job.inputs["measured"] / "measured.json").read_text("utf-8")) > 0
    source = job.inputs["model"]
    shutil.copyfile(source / "config.json", job.out / "config.json")
    raw = (source / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    table = np.frombuffer(raw[start:], np.float32).reshape(VOCABULARY, VOCABULARY)
    (job.out / "model.safetensors").write_bytes(raw[:start] + (table * job.args["factor"]).tobytes())
    return {"factor": job.args["factor"]}


def nothing(job: WorkerJob) -> dict[str, Any]:
    """There is nothing to do."""
    return {"nothing_to_gain": "every row is used"}


def broken(job: WorkerJob) -> dict[str, Any]:
    """Fail."""
    raise ValueError("no scalpel")
