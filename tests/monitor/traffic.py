"""Random traffic as series of metrics, for Prometheus' unit tests and as texts of scrapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from edgehone.monitor.promql import quoted

INTERVAL_S = 15
# A scrape that fails leaves no sample, and marks all series as gone.
MISSING = None


@dataclass(frozen=True)
class Line:
    """A series: its metric with labels, and its value at each scrape; None where it is not told."""

    metric: str
    labels: Mapping[str, str]
    values: Sequence[float | None]

    @property
    def name(self) -> str:
        """The series as PromQL and the text format write it."""
        return f"{self.metric}{{{','.join(f'{key}={quoted(text)}' for key, text in self.labels.items())}}}"


def texts(lines: Sequence[Line], failed: Sequence[bool]) -> list[str | None]:
    """Return the text of each scrape."""
    return [
        None
        if missing
        else "".join(f"{one.name} {one.values[at]!r}\n" for one in lines if one.values[at] is not None)
        for at, missing in enumerate(failed)
    ]


def unit_values(line: Line, failed: Sequence[bool]) -> str:
    """Return the values in promtool's notation: what is gone is marked as stale once, as Prometheus does."""
    told = [None if missing else value for value, missing in zip(line.values, failed, strict=True)]
    words, before = [], None
    for value in told:
        words.append(repr(value) if value is not None else "stale" if before is not None else "_")
        before = value
    return " ".join(words)


@st.composite
def traffic(draw: st.DrawFn, scrapes: int = 60) -> tuple[list[Line], list[bool]]:
    """Draw series of a server, with phases of load and trouble, restarts and scrapes that fail."""
    phases = draw(st.lists(st.tuples(st.integers(3, 25), _PHASE), min_size=2, max_size=5))
    by_scrape = [phase for length, phase in phases for _ in range(length)]
    by_scrape = (by_scrape + [by_scrape[-1]] * scrapes)[:scrapes]
    resets = set(draw(st.lists(st.integers(1, scrapes - 1), max_size=2)))
    failures = set(draw(st.lists(st.integers(0, scrapes - 1), max_size=6)))
    failed = [index in failures for index in range(scrapes)]
    return _lines(by_scrape, resets), failed


# Requests between two scrapes, the shares of them that are late and that fail, ready, memory, and waiting requests. No
# share or mean of shares is exactly a limit, where rounding would decide.
_PHASE = st.tuples(
    st.sampled_from([0, 1, 3, 40]),
    st.sampled_from([0.0, 0.0413, 0.1973, 0.8771]),
    st.sampled_from([0.0, 0.0043, 0.1017]),
    st.sampled_from([1.0, 1.0, 0.0]),
    st.sampled_from([5e7, 2e8]),
    st.sampled_from([0.0, 3.0]),
)


def _lines(phases: Sequence[tuple[float, ...]], resets: set[int]) -> list[Line]:
    counts = dict.fromkeys(("within", "all", "fine", "bad", "lost", "restarts"), 0.0)
    columns: dict[str, list[float | None]] = {name: [] for name in (*counts, "ready", "memory", "waiting")}
    for at, (requests, late, bad, ready, memory, waiting) in enumerate(phases):
        if at in resets:
            counts = dict.fromkeys(counts, 0.0)
        counts["all"] += requests
        counts["within"] += requests * (1 - late)
        counts["bad"] += requests * bad
        counts["fine"] += requests * (1 - bad)
        counts["lost"] += requests * bad
        counts["restarts"] += at > 0 and ready == 0 and phases[at - 1][3] == 1
        for name, count in counts.items():
            columns[name].append(count)
        columns["ready"].append(ready)
        columns["memory"].append(memory)
        columns["waiting"].append(waiting)
    # The first failure makes the series of failures.
    for name in ("bad", "lost"):
        columns[name] = [value or None for value in columns[name]]
    model = {"model": "bundle"}
    found = [
        ("edgehone_request_seconds_count", model, "all"),
        ("edgehone_requests_total", {"path": "/v1/completions", "status": "200"}, "fine"),
        ("edgehone_requests_total", {"path": "/v1/completions", "status": "503"}, "bad"),
        ("edgehone_requests_total", {"path": "/readyz", "status": "503"}, "restarts"),
        ("edgehone_failures_total", {**model, "reason": "engine"}, "lost"),
        ("edgehone_engine_restarts", model, "restarts"),
        ("edgehone_ready", model, "ready"),
        ("edgehone_waiting_requests", model, "waiting"),
        ("edgehone_resident_memory_bytes", {**model, "part": "engine"}, "memory"),
    ]
    bounds = ("0.01", "0.016", "0.025", "+Inf")
    buckets = [
        Line(
            "edgehone_request_seconds_bucket",
            {**model, "le": bound},
            columns["all" if bound == "+Inf" else "within"],
        )
        for bound in bounds
    ]
    return [*(Line(metric, labels, columns[name]) for metric, labels, name in found), *buckets]
