"""Run edgehone's command line with a server that times all that watches it, by the processor time of each thread.

/metrics ends with a comment that has the sum so far: `benchmarks.watching` reads it.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from edgehone.cli.main import main
from edgehone.serve import watching
from edgehone.serve.drift.observer import DriftObserver
from edgehone.serve.history.figures import Interval
from edgehone.serve.history.recorder import Recorder
from edgehone.serve.measured.changed import Looked
from edgehone.serve.measured.readings import Readings
from edgehone.serve.metrics import Metrics
from edgehone.serve.observers import Observers
from edgehone.serve.record import Record

SPENT = "# seconds of processor time spent on watching: "
# What is done for a request, then what is done for all together, by a timer or for a scrape.
_TIMED: tuple[tuple[Any, str], ...] = (
    (Observers, "begin"), (Record, "choice"), (Record, "token"), (Record, "answered"), (Record, "end"),
    (Observers, "_due"), (Observers, "flush"), (Readings, "_read"), (Metrics, "text"), (watching, "reading_of"),
    (Interval, "add"), (Interval, "figures"), (Recorder, "write"), (Looked, "look"), (DriftObserver, "_snapshots"),
    (DriftObserver, "_write"),
)  # fmt: skip
_within = threading.local()
_lock = threading.Lock()
_spent = 0


def _timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose processor time is added up, unless it is called by one whose time is."""

    @functools.wraps(function)
    def call(*args: Any, **more: Any) -> Any:
        global _spent  # noqa: PLW0603 - the sum of this process
        if getattr(_within, "one", False):
            return function(*args, **more)
        _within.one, begun = True, time.thread_time_ns()
        try:
            return function(*args, **more)
        finally:
            _within.one = False
            with _lock:
                _spent += time.thread_time_ns() - begun

    return call


def _told(text: Callable[[Metrics], bytes]) -> Callable[[Metrics], bytes]:
    def call(self: Metrics) -> bytes:
        return text(self) + f"{SPENT}{_spent / 1e9:.9f}\n".encode()

    return call


if __name__ == "__main__":
    for owner, name in _TIMED:
        setattr(owner, name, _timed(getattr(owner, name)))
    setattr(Metrics, "text", _told(Metrics.text))  # noqa: B010 - mypy knows no other way
    sys.exit(main())
