"""Answer the workload for a while: what a profile watches (worker side).

Requests are those of speed, memory and energy (`measure.requests`). What was answered is told as it goes, in slices
on standard output, so that it is known of a process that does not live to return.
"""

from __future__ import annotations

import json
import time
from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.worker import page_cache
from edgehone.worker.backend import load_backend
from edgehone.worker.clock import seconds_to_open
from edgehone.worker.requests import open_requests

# How a slice's line begins in the log.
MARK = "edgehone-slice "
SLICE_SECONDS = 0.5


def prompts(job: WorkerJob) -> dict[str, Any]:
    """So many `prompts` of `count` ids each, by the artifact's own tokenizer, from as many places of a text.

    args: backend, settings, count, prompts. inputs: artifact, text (a UTF-8 file).
    """
    session = load_backend(job).open_session(job.inputs["artifact"], job.args["settings"], job)
    text, count = job.inputs["text"].read_text("utf-8"), job.args["count"]
    # Few tokens are longer than that many characters, so the ids are enough nearly everywhere.
    length = 16 * count + 64
    step = max(1, (len(text) - length) // job.args["prompts"])
    made = [
        session.tokenize(text[at : at + length])[:count] for at in range(0, step * job.args["prompts"], step)
    ]
    session.close()
    return {"prompts": [[int(one) for one in ids] for ids in made]}


def start(job: WorkerJob) -> dict[str, Any]:
    """How long it takes to open and answer once. args: cold, and those of `open_requests`."""
    if job.args["cold"]:
        page_cache.drop(job.inputs["artifact"])
    begun = time.perf_counter()
    requests = open_requests(job)
    clock = requests.clock
    opening, opened = seconds_to_open(clock, begun), clock.now()
    requests.answer()
    first = clock.now() - opened
    requests.close()
    return {"open": opening, "first": first}


def answer(job: WorkerJob) -> dict[str, Any]:
    """Answer requests for `seconds`. args: seconds, and those of `open_requests`.

    Returns `begun` and `ended` (time.perf_counter) of the steady part, after one request to warm up, and `requests`;
    latencies.npy holds each request's seconds, ttfts.npy those to its first token where there are tokens.
    """
    import numpy as np

    requests = open_requests(job)
    requests.answer()
    clock, begun = requests.clock, time.perf_counter()
    computed_begun = clock.now()
    totals, firsts = list[float](), list[float]()
    teller = _Slices(begun)
    while time.perf_counter() - begun < job.args["seconds"]:
        for one in requests.answer():
            totals.append(one["total"])
            if "ttft" in one:
                firsts.append(one["ttft"])
            teller.send(one["total"])
        # The parent samples this process in real time, so a session whose times are computed is slowed down to them.
        ahead = (clock.now() - computed_begun) - (time.perf_counter() - begun)
        if ahead > 0:
            time.sleep(ahead)
    teller.close()
    ended = time.perf_counter()
    requests.close()
    np.save(job.out / "latencies.npy", np.array(totals))
    np.save(job.out / "ttfts.npy", np.array(firsts))
    return {"begun": begun, "ended": ended, "requests": len(totals)}


def slices_of(log: str) -> list[dict[str, float]]:
    """The slices that `answer` told in a log, a cut line left out."""
    found = []
    for line in log.splitlines():
        _, mark, rest = line.partition(MARK)
        if mark:
            try:
                found.append(json.loads(rest))
            except ValueError:  # the process died in the middle of it
                continue
    return found


class _Slices:
    """Tells each half second what was answered in it: requests, mean and largest latency in seconds."""

    def __init__(self, begun: float) -> None:
        self._since, self._values = begun, list[float]()

    def send(self, seconds: float) -> None:
        self._values.append(seconds)
        if (now := time.perf_counter()) - self._since >= SLICE_SECONDS:
            self._tell(now)

    def close(self) -> None:
        if self._values:
            self._tell(time.perf_counter())

    def _tell(self, now: float) -> None:
        mean, most = sum(self._values) / len(self._values), max(self._values)
        told = {"from": self._since, "to": now, "n": len(self._values), "mean": mean, "max": most}
        # The log is where it is looked for: whatever else the process printed stands beside it.
        print(f"\n{MARK}{json.dumps(told)}", flush=True)  # noqa: T201
        self._since, self._values = now, []
