"""Time the requests of one round, in a fresh process; `evaluation.speed` makes figures of all rounds.

A round opens the artifact, answers one turn to warm up, then times whole requests: the same prompt ids in and the same
number of tokens out for every framework.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.device.busy import others_share, read_busy
from edgehone.device.throttle import difference, read_conditions
from edgehone.worker import page_cache
from edgehone.worker.clock import seconds_to_open
from edgehone.worker.requests import open_requests

# A round answers at least this many turns, and goes on for as long as the effort says.
LEAST_TURNS = 3


def time_requests(job: WorkerJob) -> dict[str, Any]:
    """Time one round.

    args: `cold` (drop the artifact from the page cache first), `seconds`, and those of `open_requests`.
    Return `requests`, each as `Requests.answer` gives it; `load`, the seconds to load the artifact; `first`, the
    slowest request of the turn after loading; `conditions`, what changed on the machine during the round; and
    `still_cached`, why a cold round was not cold, or None.
    """
    still_cached = page_cache.drop(job.inputs["artifact"]) if job.args["cold"] else None
    started = time.perf_counter()
    requests = open_requests(job)
    clock = requests.clock
    opening = seconds_to_open(clock, started)
    first = _slowest(requests.answer())
    before, busy = read_conditions(), read_busy()
    turns: list[list[dict[str, float]]] = []
    begun = clock.now()
    while len(turns) < LEAST_TURNS or clock.now() - begun < job.args["seconds"]:
        turns.append(requests.answer())
    others = others_share(busy, read_busy())
    conditions = difference(before, read_conditions()).to_json() | {"others_share": others}
    requests.close()
    # A framework may load lazily, in the first request: its time beyond that of a warm request belongs to loading.
    lazy = max(0.0, first["total"] - min(_slowest(turn)["total"] for turn in turns))
    return {
        "cold": job.args["cold"],
        "still_cached": still_cached,
        "load": opening + lazy,
        "first": first,
        "requests": [request for turn in turns for request in turn],
        "conditions": conditions,
    }


def _slowest(turn: Sequence[dict[str, float]]) -> dict[str, float]:
    return max(turn, key=lambda request: request["total"])
