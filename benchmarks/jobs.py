"""Overhead of a job beyond starting its interpreter, and of a job that is in the store already."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.row import Row, medians
from edgehone.backends.null import backend
from edgehone.execution.environments import environment
from edgehone.execution.job import Job
from edgehone.execution.run import run

TIMES = 10


def main() -> list[Row]:
    """Return the seconds of an empty job minus those of a bare interpreter: medians of 10, run alternately."""
    sys.path.insert(0, str(Path(__file__).parent))  # where the child finds echojob
    before = os.environ.get("EDGEHONE_HOME")
    with tempfile.TemporaryDirectory() as home:
        os.environ["EDGEHONE_HOME"] = home
        try:
            return _measure()
        finally:
            del os.environ["EDGEHONE_HOME"]
            if before is not None:
                os.environ["EDGEHONE_HOME"] = before


def _measure() -> list[Row]:
    env = environment.ensure("null", backend.NEEDS, lambda what: None)
    job = Job("echojob:echo", env, {"number": -1})
    run(job)
    fresh, bare, stored = [], [], []
    for number in range(TIMES):
        fresh.append(_seconds(Job("echojob:echo", env, {"number": number})))
        bare += medians([[sys.executable, "-I", "-c", "pass"]], 1)
        stored.append(_seconds(job))
    start = median(bare)
    beside = f"job {median(fresh):.3f} s, python -I -c pass: {start:.3f} s"
    return [
        Row("a job's overhead", median(fresh) - start, "s", 0.3, beside),
        Row("a job from the store", median(stored), "s", 0.01, "median of 10"),
    ]


def _seconds(job: Job) -> float:
    begun = time.perf_counter()
    run(job)
    return time.perf_counter() - begun
