"""Measure energy by the RAPL counters of the processor packages, if they can be read.

The counters (Linux powercap, `intel-rapl:N/energy_uj`, on AMD processors too) count microjoules and wrap around at
`max_energy_range_uj`. They cover the whole package and thus other processes; edgehone runs nothing else meanwhile.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.worker.requests import open_requests

POWERCAP = Path("/sys/class/powercap")
_PACKAGE = re.compile(r"intel-rapl:\d+")
# The counters are updated about every millisecond: a sample must be much longer than that. Its length is real time even
# for a session with a clock of its own, since the counters count in real time.
SAMPLE_SECONDS = 1.0
SAMPLES = 5


def why_unreadable(root: Path = POWERCAP) -> str | None:
    """Return why no package counter can be read on this machine, or None if one can."""
    counters = _counters(root)
    if not counters:
        return "this machine shows no RAPL energy counter"
    for folder in counters:
        try:
            _read(folder)
        except OSError as error:
            return f"the RAPL energy counter {folder.name} cannot be read: {error.strerror}"
        except ValueError as error:
            return f"the RAPL energy counter {folder.name} does not hold a number: {error}"
    return None


def read(root: Path = POWERCAP) -> list[tuple[int, int]]:
    """Return (microjoules, range) of each package counter."""
    return [_read(folder) for folder in _counters(root)]


def joules(before: Sequence[tuple[int, int]], after: Sequence[tuple[int, int]]) -> float:
    """Return the joules between two readings that are at most one wrap-around of each counter apart."""
    spent = 0
    for (start, span), (end, _) in zip(before, after, strict=True):
        spent += end - start if end >= start else end - start + span
    return spent / 1e6


def meter(job: WorkerJob) -> dict[str, Any]:
    """Return the joules per request in five samples. args and inputs: those of `open_requests`."""
    requests = open_requests(job)
    requests.answer()
    samples = []
    for _ in range(SAMPLES):
        answered, begun, before = 0, time.perf_counter(), read()
        while time.perf_counter() - begun < SAMPLE_SECONDS:
            answered += len(requests.answer())
        samples.append(joules(before, read()) / answered)
    requests.close()
    return {"joules": samples}


def _counters(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if _PACKAGE.fullmatch(path.name))


def _read(counter: Path) -> tuple[int, int]:
    names = ("energy_uj", "max_energy_range_uj")
    now, span = (int((counter / name).read_text("ascii")) for name in names)
    return now, span
