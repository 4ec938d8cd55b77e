"""Answer the workload for a while: what a profile watches (worker side).

Requests are those of speed, memory and energy (`measure.requests`). What was answered is told as it goes, in slices
on standard output, so that it is known of a process that does not live to return.
"""

from __future__ import annotations

import importlib
import json
import time
from typing import Any

from edgehone.backends.base import WorkerJob
from edgehone.measure.requests import open_requests
from edgehone.measure.speed import forget_cached

# How a slice's line begins in the log.
MARK = "edgehone-slice "
SLICE_SECONDS = 0.5


def prompt(job: WorkerJob) -> dict[str, Any]:
    """The ids of a text's beginning, by the artifact's own tokenizer. args: backend, settings, count, skip.

    `skip` characters of the text are passed over. inputs: artifact, text (a UTF-8 file).
    """
    backend = importlib.import_module(job.args["backend"])
    session = backend.open_session(job.inputs["artifact"], job.args["settings"], job)
    text = job.inputs["text"].read_text("utf-8")[job.args["skip"] :]
    # A token is a character at least: no more of the text is needed than tokens at a generous length.
    ids = session.tokenize(text[: 16 * job.args["count"] + 64])[: job.args["count"]]
    session.close()
    return {"ids": [int(one) for one in ids]}


def start(job: WorkerJob) -> dict[str, Any]:
    """How long it takes to open and answer once. args: cold, and those of `open_requests`."""
    if job.args["cold"]:
        forget_cached(job.inputs["artifact"])
    begun = time.perf_counter()
    asked = open_requests(job)
    opened = time.perf_counter()
    asked.answer()
    answered = time.perf_counter()
    asked.close()
    return {"open": opened - begun, "first": answered - opened}


def answer(job: WorkerJob) -> dict[str, Any]:
    """Answer requests for `seconds`. args: seconds, and those of `open_requests`.

    Returns `begun` and `ended` (time.perf_counter) of the steady part, after one request to warm up, and `requests`;
    latencies.npy holds each request's seconds, ttfts.npy those to its first token where there are tokens.
    """
    import numpy as np

    asked = open_requests(job)
    asked.answer()
    begun = time.perf_counter()
    totals, firsts = list[float](), list[float]()
    teller = _Slices(begun)
    while time.perf_counter() - begun < job.args["seconds"]:
        for one in asked.answer():
            totals.append(one["total"])
            if "ttft" in one:
                firsts.append(one["ttft"])
            teller.send(one["total"])
    teller.close()
    ended = time.perf_counter()
    asked.close()
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
