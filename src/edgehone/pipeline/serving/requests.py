"""Send requests to a server of a bundle, and tell how they were answered."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgehone.bundle.read import read
from edgehone.certify.asked import Asked, asked_of
from edgehone.certify.profile import read_profile
from edgehone.certify.subject import Sources, Subject
from edgehone.serve.load.client import Answered
from edgehone.serve.load.loads import quantile, served


@contextmanager
def asking(bundle: Path, name: str) -> Iterator[Asked]:
    """Give what is asked of a bundle that is served as `name`: the same as in its certification."""
    with tempfile.TemporaryDirectory(prefix="edgehone-") as work:
        subject = Subject(read(bundle), read_profile(), Sources(), Path(work), lambda text: None)
        yield asked_of(subject, name)


def counted(answers: Sequence[Answered], seconds: float) -> dict[str, Any]:
    """Return numbers and times of answers, as JSON: milliseconds, None where nothing was answered."""
    good = [one.seconds for one in served(answers)]
    statuses: dict[str, int] = {}
    for one in answers:
        statuses[str(one.status)] = statuses.get(str(one.status), 0) + 1
    return {
        "requests": len(answers),
        "answered": len(good),
        "statuses": statuses,
        "per_second": len(good) / seconds,
        "p50_ms": 1000 * quantile(good, 0.5) if good else None,
        "p95_ms": 1000 * quantile(good, 0.95) if good else None,
    }


def told(facts: dict[str, Any]) -> str:
    """Return in words what `counted` found."""
    text = f"{facts['answered']} of {facts['requests']} requests answered"
    if facts["p50_ms"] is not None:
        text += f", p50 {facts['p50_ms']:.3g} ms, p95 {facts['p95_ms']:.3g} ms"
    if facts["answered"] < facts["requests"]:
        text += f"; by status {facts['statuses']}"
    return text


def figures_of(facts: dict[str, Any]) -> list[str]:
    """Return what `counted` found in a few words, for the graph of the stages."""
    found = [f"{facts['answered']:,} requests answered"]
    return [*found, f"p95 {facts['p95_ms']:.3g} ms"] if facts["p95_ms"] is not None else found
