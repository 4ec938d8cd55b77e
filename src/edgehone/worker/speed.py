"""Time requests of one round, in a fresh process; `evaluation.speed` turns all rounds into figures.

A round opens the artifact, generates once to warm up, then times whole requests: the same prompt ids in and the same
number of tokens out for every framework.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.device.busy import others_share, read_busy
from edgehone.device.throttle import difference, read_conditions
from edgehone.worker.requests import open_requests

# Each round answers every client at least so often, and goes on for as long as the effort says.
LEAST_TURNS = 3


def time_requests(job: WorkerJob) -> dict[str, Any]:
    """One round, in the worker. args: cold, seconds, and those of `open_requests`.

    Returns `requests`: what `Requests.answer` tells of each; `load` in seconds; `first` is the slowest request after
    loading; `conditions` what the machine did meanwhile.
    """
    if job.args["cold"]:
        forget_cached(job.inputs["artifact"])
    started = time.perf_counter()
    asked = open_requests(job)
    opened = time.perf_counter()
    first = _slowest(asked.answer())
    before, busy = read_conditions(), read_busy()
    turns: list[list[dict[str, float]]] = []
    begun = time.perf_counter()
    while len(turns) < LEAST_TURNS or time.perf_counter() - begun < job.args["seconds"]:
        turns.append(asked.answer())
    others = others_share(busy, read_busy())
    conditions = difference(before, read_conditions()).to_json() | {"others_share": others}
    asked.close()
    # Loading may be put off until the first request; what it took beyond a warm one belongs to loading.
    late = max(0.0, first["total"] - min(_slowest(turn)["total"] for turn in turns))
    return {
        "cold": job.args["cold"],
        "load": opened - started + late,
        "first": first,
        "requests": [request for turn in turns for request in turn],
        "conditions": conditions,
    }


def _slowest(turn: Sequence[dict[str, float]]) -> dict[str, float]:
    return max(turn, key=lambda request: request["total"])


def forget_cached(folder: Path) -> None:
    """Ask the kernel to drop a folder's files from the page cache, so that loading reads the disk."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
