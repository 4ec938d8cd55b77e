"""Operator times from the file that ONNX Runtime's profiler writes (worker side).

The file is a list of events with times in microseconds: a "model_run" for each run of the session, and one event for
each node computed in it, whose `op_name` is the operator's type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import OperatorTime
from edgehone.core.errors import JobError


def of_graph(
    path: Path, settings: Mapping[str, Any], threads: int, feeds: Mapping[str, Any], out: Path
) -> list[OperatorTime]:
    """Time one batch of a graph, after one that warms up. The profiler's file is left in the folder `out`."""
    from edgehone.backends.onnxruntime.session import OrtSession

    session = OrtSession(path, {**settings, "profile": str(out / "profile")}, threads)
    session.run(feeds)
    session.run(feeds)
    return summed("run", read(session.end_profile())[-1:])


def read(path: Path) -> list[dict[str, list[float]]]:
    """Return, for each run of the session in order, the seconds of each call by operator type.

    Raises JobError if the file cannot be read.
    """
    try:
        events = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"ONNX Runtime's profile {path.name} cannot be read: {error}") from error
    runs = sorted(
        (e["ts"], e["ts"] + e["dur"])
        for e in events
        if e.get("cat") == "Session" and e["name"] == "model_run"
    )
    calls: list[dict[str, list[float]]] = [{} for _ in runs]
    for event in events:
        operator = event.get("args", {}).get("op_name")
        if event.get("cat") != "Node" or not operator or not event["name"].endswith("_kernel_time"):
            continue
        for index, (begin, end) in enumerate(runs):
            if begin <= event["ts"] <= end:
                calls[index].setdefault(operator, []).append(event["dur"] / 1e6)
    return calls


def summed(phase: str, runs: Sequence[Mapping[str, list[float]]]) -> list[OperatorTime]:
    """Sum the calls of several runs by operator type."""
    kinds: dict[str, list[float]] = {}
    for run in runs:
        for operator, seconds in run.items():
            kinds.setdefault(operator, []).extend(seconds)
    return [OperatorTime(phase, operator, len(some), sum(some)) for operator, some in kinds.items()]
