"""Run the workload while a profiler watches the process (worker side).

The requests are the same as in speed, memory and energy measurements (`requests`). Progress is printed to standard
output in slices, so that it is available even if the process dies.
"""

from __future__ import annotations

import json
import time
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.worker import page_cache
from edgehone.worker.backend import load_backend
from edgehone.worker.clock import seconds_to_open
from edgehone.worker.requests import open_requests

# Prefix of a slice's line in the log.
MARK = "edgehone-slice "
SLICE_SECONDS = 0.5


def prompts(job: WorkerJob) -> dict[str, Any]:
    """Tokenize `prompts` different passages of a text with the artifact's own tokenizer, to `count` ids each.

    args: backend, settings, count, prompts. inputs: artifact, text (a UTF-8 file).
    """
    session = load_backend(job).open_session(job.inputs["artifact"], job.args["settings"], job)
    text, count = job.inputs["text"].read_text("utf-8"), job.args["count"]
    # Few tokens have more than 16 characters, so nearly every passage has enough ids.
    length = 16 * count + 64
    step = max(1, (len(text) - length) // job.args["prompts"])
    passages = [
        session.tokenize(text[at : at + length])[:count] for at in range(0, step * job.args["prompts"], step)
    ]
    session.close()
    return {"prompts": [[int(token) for token in ids] for ids in passages]}


def start(job: WorkerJob) -> dict[str, Any]:
    """Measure the time to open the artifact and to answer the first request.

    args: cold (drop the artifact's files from the page cache first), and those of `open_requests`. Returns open,
    first (seconds), and still_cached, why a cold start was not cold, or None.
    """
    still_cached = page_cache.drop(job.inputs["artifact"]) if job.args["cold"] else None
    begun = time.perf_counter()
    requests = open_requests(job)
    clock = requests.clock
    opening, opened = seconds_to_open(clock, begun), clock.now()
    requests.answer()
    first = clock.now() - opened
    requests.close()
    return {"open": opening, "first": first, "still_cached": still_cached}


def answer(job: WorkerJob) -> dict[str, Any]:
    """Answer requests for args["seconds"].

    args: seconds, and those of `open_requests`. Writes latencies.npy (seconds of each request) and ttfts.npy
    (seconds to its first token, if there are tokens). Returns `begun` and `ended` (time.perf_counter) of the steady
    part, which starts after one warm-up request, and the number of `requests`.
    """
    import numpy as np

    requests = open_requests(job)
    requests.answer()
    clock, begun = requests.clock, time.perf_counter()
    computed_begun = clock.now()
    totals, firsts = list[float](), list[float]()
    slices = _Slices(begun)
    while time.perf_counter() - begun < job.args["seconds"]:
        for request in requests.answer():
            totals.append(request["total"])
            if "ttft" in request:
                firsts.append(request["ttft"])
            slices.send(request["total"])
        # The parent samples this process in real time, so a session whose times are computed is slowed down to them.
        ahead = (clock.now() - computed_begun) - (time.perf_counter() - begun)
        if ahead > 0:
            time.sleep(ahead)
    slices.close()
    ended = time.perf_counter()
    requests.close()
    np.save(job.out / "latencies.npy", np.array(totals))
    np.save(job.out / "ttfts.npy", np.array(firsts))
    return {"begun": begun, "ended": ended, "requests": len(totals)}


def slices_of(log: str) -> list[dict[str, float]]:
    """Return the slices that `answer` printed to a log. Truncated lines are skipped."""
    slices = []
    for line in log.splitlines():
        _, mark, rest = line.partition(MARK)
        if mark:
            try:
                slices.append(json.loads(rest))
            except ValueError:  # the process died while writing the line
                continue
    return slices


class _Slices:
    """Print a summary of each half second: number of requests, mean and maximum latency in seconds."""

    def __init__(self, begun: float) -> None:
        self._since, self._values = begun, list[float]()

    def send(self, seconds: float) -> None:
        self._values.append(seconds)
        if (now := time.perf_counter()) - self._since >= SLICE_SECONDS:
            self._print(now)

    def close(self) -> None:
        if self._values:
            self._print(time.perf_counter())

    def _print(self, now: float) -> None:
        mean, highest = sum(self._values) / len(self._values), max(self._values)
        summary = {"from": self._since, "to": now, "n": len(self._values), "mean": mean, "max": highest}
        # Standard output is the job's log, which the profiler reads; other output may be in it too.
        print(f"\n{MARK}{json.dumps(summary)}", flush=True)  # noqa: T201
        self._since, self._values = now, []
