"""The runtime settings that a backend's table lists, for a device and a kind of artifact.

An entry `[[tuning]]` has `name`, `values`, `default` (what holds where a recipe does not say), `why`, and perhaps
`exact = false` (it changes outputs), `kinds` (of artifacts it is for: language, graph, vision; all without),
`below_context = true` (only values smaller than the context make a difference). Instead of a list `values` may be
"threads": as many as this device gives reason to try.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from edgehone.backends.base import TunableSetting
from edgehone.device.facts import Device

Kind = Literal["language", "graph", "vision"]
# On a device of few threads one alone may be best, for models so small that handing over costs more than it gains.
_FEW = 4


def listed(
    entries: Iterable[Mapping[str, Any]], device: Device, kind: Kind, context: int = 0
) -> list[TunableSetting]:
    """The entries that concern an artifact of that kind, those without a value left out."""
    found = []
    for entry in entries:
        if kind not in entry.get("kinds", (kind,)):
            continue
        values = thread_counts(device) if entry["values"] == "threads" else tuple(entry["values"])
        if entry.get("below_context"):
            values = tuple(value for value in values if value < context)
        default = device.threads if entry["values"] == "threads" else entry.get("default")
        if values:
            found.append(TunableSetting(entry["name"], values, default, entry.get("exact", True)))
    return found


def thread_counts(device: Device) -> tuple[int, ...]:
    """Other numbers of threads than all: a thread a physical core, one left to the system, half of all, one alone.

    Decoding waits for memory, which fewer threads saturate; siblings of one core share what it computes with.
    """
    every = device.threads
    counts = [min(device.physical_cores or every, every), every // 2]
    counts += [every - 1] if every > 2 else []
    counts += [1] if every <= _FEW else []
    return tuple(sorted({count for count in counts if 1 <= count < every}, reverse=True))
