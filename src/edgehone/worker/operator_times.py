"""Time the operators of one request with the framework's own profiler (worker side)."""

from __future__ import annotations

from typing import Any

from edgehone.backends.capabilities import OperatorProfiler, require
from edgehone.backends.sessions import WorkerJob
from edgehone.inputs.batches import Batches
from edgehone.worker import sequences
from edgehone.worker.backend import load_backend


def time_operators(job: WorkerJob) -> dict[str, Any]:
    """Run one request of the workload through the backend's `operator_times`.

    args and inputs: those of `open_requests`; of sequences the first step is timed. Returns `operators`: a list of
    phase, operator, calls and seconds, slowest first.
    """
    backend = require(load_backend(job), OperatorProfiler)
    if "prompt" in job.args:
        request = {"prompt": job.args["prompt"], "generated": job.args["generated"]}
    else:
        samples = Batches.read(job.inputs["samples"])
        request = {"feeds": sequences.first_step(samples.axes, samples.around(0, job.args["batch"]))}
    times = backend.operator_times(job.inputs["artifact"], job.args["settings"], job, **request)
    rows = [vars(one) for one in times]
    return {"operators": sorted(rows, key=lambda row: -row["seconds"])}
