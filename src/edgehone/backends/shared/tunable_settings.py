"""Read the tunable settings of a backend's table for a device and a kind of artifact.

An entry `[[tuning]]` has `name`, `values`, `default` (the value in effect if a recipe does not set it) and `why`.
Optional keys are `exact = false` (the setting changes outputs), `kinds` (the kinds of artifacts it applies to:
language, graph, vision; default: all) and `below_context = true` (only values smaller than the context have an effect).
`values` is a list, or "threads" for thread counts that depend on the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from edgehone.backends.base import TunableSetting
from edgehone.device.facts import Device

Kind = Literal["language", "graph", "vision"]
# Up to this many threads, a single thread is tried too: for small models synchronization can cost more than it saves.
_FEW_THREADS = 4


def settings_from_table(
    entries: Iterable[Mapping[str, Any]], device: Device, kind: Kind, context: int = 0
) -> list[TunableSetting]:
    """Return the settings that apply to a kind of artifact and have at least one value to try."""
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
    """Return thread counts to try besides all threads: one per physical core, half of all, all but one, and one.

    Decoding is limited by memory bandwidth, which fewer threads may saturate; hardware threads of one core share its
    execution units.
    """
    every = device.threads
    counts = [min(device.physical_cores or every, every), every // 2]
    counts += [every - 1] if every > 2 else []
    counts += [1] if every <= _FEW_THREADS else []
    return tuple(sorted({count for count in counts if 1 <= count < every}, reverse=True))


# Whether an engine keeps what it has computed of prompts, for later ones that begin alike.
PREFIX_CACHE = TunableSetting("prefix_cache", (False,), default=True)
