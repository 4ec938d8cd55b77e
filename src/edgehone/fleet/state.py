"""The state of an agent, in one small file that is replaced atomically: a power cut leaves the old or the new one."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from edgehone.core import typed_json
from edgehone.core.errors import InputError
from edgehone.core.typed_json import Count
from edgehone.fleet.accept import Memory
from edgehone.fleet.channel import Release
from edgehone.fleet.report import Outcome
from edgehone.registry.blobs import disk_error, sync_folder

NAME: Final = "state.json"
Side = Literal["a", "b"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A release that is written to a slot and is to be proven there. `tries` were begun."""

    side: Side
    tries: Count


@dataclass(frozen=True, kw_only=True)
class State:
    """All that outlives an agent. `slots` are complete and verified; `active` is the one whose server answers.

    `trial` has not shown itself good; an agent that was killed meanwhile starts the active one. `failed` counts the
    failures of releases by the digest of their manifests.
    """

    schema: Literal[1] = 1
    channel: str
    memory: Memory = field(default_factory=Memory)
    active: Side | None = None
    slots: Mapping[str, Release] = field(default_factory=dict)
    trial: Trial | None = None
    failed: Mapping[str, Count] = field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError if the parts do not fit."""
        if unknown := set(self.slots) - {"a", "b"}:
            raise ValueError(f"there is no slot {sorted(unknown)[0]!r}")
        if self.active is not None and self.active not in self.slots:
            raise ValueError(f"the active slot {self.active} is empty")
        if self.trial is not None and (self.trial.side not in self.slots or self.trial.side == self.active):
            raise ValueError(f"the slot on trial, {self.trial.side}, is empty or active")

    @property
    def running(self) -> Release | None:
        """The release of the active slot."""
        return self.slots[self.active] if self.active else None

    @property
    def other(self) -> Side:
        """The slot that a new release is written to."""
        return "b" if self.active == "a" else "a"


class Store:
    """The state in a folder. Threads of the agent change it one after the other."""

    def __init__(self, folder: Path, channel: str) -> None:
        """Read the state, or begin one. Raises InputError if it is damaged or of another channel."""
        self._path, self._lock = folder / NAME, threading.Lock()
        self._state = self._read(channel)

    @property
    def state(self) -> State:
        """The state as it is on the disk."""
        return self._state

    def change(self, change: Callable[[State], State]) -> State:
        """Replace the state. Raises SetupError if it cannot be written; then the old state is kept."""
        with self._lock:
            new = change(self._state)
            if new != self._state:
                self._write(new)
                self._state = new
            return new

    def _read(self, channel: str) -> State:
        try:
            data: Any = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return State(channel=channel)
        except (OSError, ValueError) as error:
            raise InputError(
                f"the agent's state {self._path} cannot be read: {error}", hint=_hint(self._path)
            ) from error
        state = typed_json.read(State, data, str(self._path), hint=_hint(self._path))
        if state.channel != channel:
            raise InputError(
                f"{self._path.parent} belongs to the channel {state.channel}, not {channel}",
                hint="give each channel a folder of its own, or move this one away",
            )
        return state

    def _write(self, state: State) -> None:
        staged = self._path.with_name(f".{NAME}.new")
        try:
            with staged.open("wb") as file:
                file.write(json.dumps(asdict(state), indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            staged.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            raise disk_error(error, self._path.parent) from error


def read_state(folder: Path, channel: str) -> State:
    """Return the state in a folder without an agent."""
    return Store(folder, channel).state


def _hint(path: Path) -> str:
    return f"restore it; without it (mv {path} {path}.broken) the agent begins anew and could accept an older channel"
