"""The processor time and the memory of the processes of a server, by their task and model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from edgehone.serve.model import Model


@dataclass(frozen=True)
class Taken:
    """The use of the processes of one part: seconds of processor time, and bytes of resident memory."""

    part: str  # "server", "engine" or "text"
    model: str  # "" for the server
    cpu_seconds: float
    resident_bytes: int


def part_ids(models: Iterable[Model]) -> list[tuple[str, str, Sequence[int]]]:
    """Return the parts with the ids of their processes. Called in the event loop."""
    found: list[tuple[str, str, Sequence[int]]] = [("server", "", (os.getpid(),))]
    for model in models:
        found += [(part, model.name, ids) for part, ids in model.processes.items() if ids]
    return found


def read_processes(parts: Iterable[tuple[str, str, Sequence[int]]]) -> list[Taken]:
    """Return the use of the processes that still run. A part whose processes have all ended is left out."""
    found = []
    for part, model, ids in parts:
        taken = [one for number in ids if (one := _taken(number)) is not None]
        if taken:
            seconds, memory = zip(*taken, strict=True)
            found.append(Taken(part, model, sum(seconds), sum(memory)))
    return found


def _taken(number: int) -> tuple[float, int] | None:
    try:
        process = psutil.Process(number)
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
    except psutil.Error:
        return None  # it has ended
    return float(times.user + times.system), int(memory.rss)


def by_part(taken: Sequence[Taken]) -> Mapping[str, Mapping[str, float]]:
    """Return the bytes of resident memory by part and model, for JSON."""
    found: dict[str, dict[str, float]] = {}
    for one in taken:
        found.setdefault(one.part, {})[one.model] = one.resident_bytes
    return found
