"""Gather observations of a server and its machine for a diagnosis."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from edgehone.core.errors import EdgehoneError
from edgehone.diagnosis.facts import Facts
from edgehone.operate import machine
from edgehone.operate.control_group import Group, group_of
from edgehone.operate.facts import Seen, facts_of
from edgehone.operate.journal import Journal
from edgehone.operate.server import Look, Server
from edgehone.operate.watching import Watcher

# Seconds between samples of memory; a sample reads the figures of every process.
_MEMORY_SECONDS = 10.0


class MachineHistory:
    """The clocks of one server's machine and the memory of its processes over time."""

    def __init__(self, times: float) -> None:
        self._every = _MEMORY_SECONDS / times
        self._memory: machine.Memory | None = None
        self._process: int | None = None
        self._sampled = 0.0
        self._clocks: tuple[float, float] | None = None
        self.clock_jump_s = self._jump = 0.0

    def look(self, process: int | None) -> None:
        """Look at the clock, and now and then at the memory of the server's process."""
        wall, steady = time.time(), time.monotonic()
        if self._clocks is not None:
            jump = (wall - self._clocks[0]) - (steady - self._clocks[1])
            if abs(jump) > abs(self._jump):  # a frozen process sees both clocks go on
                self.clock_jump_s = self._jump = jump
        self._clocks = wall, steady
        if process != self._process:
            self._process, self._memory = process, machine.Memory(process) if process else None
        if self._memory and steady - self._sampled >= self._every:
            self._sampled = steady
            self._memory.look()

    def take_jump(self) -> float:
        """Return by how many seconds the wall clock has jumped since the last call."""
        jump, self._jump = self._jump, 0.0
        return jump

    @property
    def growth(self) -> machine.Growth | None:
        """How the memory grew."""
        return self._memory.growth if self._memory else None


def diagnose_facts(
    name: str | None,
    server: Server,
    look: Look | None,
    watcher: Watcher,
    history: MachineHistory,
    journal: Journal,
) -> tuple[Facts, Group | None]:
    """Return the facts about a model, or about the server, and its control group. It takes one to three seconds."""
    told: Mapping[str, Any] = look.server if look else {}
    process = told.get("process")
    before, begun = _disk(process), time.monotonic()
    processors = machine.processors(process) if process else None
    group = group_of(process) if process else None
    seconds = time.monotonic() - begun
    per_s = [(now - then) / seconds for now, then in zip(_disk(process), before, strict=True)]
    gauges = watcher.gauges(name)
    free = [one for one in (machine.free_bytes(), gauges.get("free_bytes")) if one is not None]
    seen = Seen(
        model=look.models.get(name) if look and name else None,
        server=told,
        watch=watched(server, name),
        up=watcher.up,
        metrics=gauges,
        recent=watcher.recent(name),
        processors=processors,
        growth=history.growth,
        faults_per_s=per_s[0] if process else None,
        read_per_s=per_s[1] if process else None,
        io_pressure=machine.pressure("io"),
        free_bytes=round(min(free)) if free else None,
        clock_jump_s=history.clock_jump_s,
        changed=_changed(journal, name),
        group=group,
    )
    return facts_of(seen), group


def _disk(process: int | None) -> tuple[int, int]:
    """Return how many pages a server's processes have waited for, and the bytes that were read for them."""
    return (machine.faults(process), machine.read_bytes(process)) if process else (0, 0)


def watched(server: Server, name: str | None) -> Mapping[str, Any]:
    """Return what GET /admin/watch tells of a model; nothing if the server does not answer."""
    try:
        told = server.watch()
    except EdgehoneError:
        return {}
    found = (told or {}).get("models", {}).get(name)
    return found if isinstance(found, Mapping) else {}


def _changed(journal: Journal, name: str | None) -> tuple[float, str] | None:
    """Return how long ago someone else changed how a model is served, and what they changed."""
    ways = journal.ways(name) if name else []
    for (_, before, _), (at, after, mine) in zip(reversed(ways[:-1]), reversed(ways[1:]), strict=True):
        if not mine:
            keys = sorted(key for key in after if after[key] != before.get(key))
            says = "; ".join(f"{key}: {before.get(key)} → {after[key]}" for key in keys)
            return max(0.0, time.time() - at), says
    return None
