"""The state of drift detection on the disk: sketches only, written so that a kill leaves the old or the new state."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError
from edgehone.serve.drift.evaluated import Evaluated
from edgehone.serve.drift.model_watch import FORMAT, DriftRules, ModelWatch

FOLDER = "drift"
# States of bundles that were served before are kept, so that going back to one continues its state.
_MOST = 16
_REFERENCE, _STATE = ".reference.json", ".state.json"


@dataclass(frozen=True)
class Snapshot:
    """The state of a model as JSON data, at a moment; `reference` is that of its traffic if it is not stored yet."""

    model: str
    state: Mapping[str, Any]
    reference: Mapping[str, Any] | None


class Store:
    """A folder with two files for each bundle: the reference of its traffic, and its state."""

    def __init__(self, state: Path) -> None:
        self.folder = state / FOLDER
        self._lock = threading.Lock()  # the server's end does not wait for a thread that writes

    def read(self, model: str, manifest: str, evaluated: Evaluated, rules: DriftRules) -> ModelWatch | None:
        """Return the stored state of a bundle that is served under a name; None if there is none.

        Raises InputError if it is damaged.
        """
        base = self._base(model, manifest)
        state = _load(base.with_name(base.name + _STATE))
        if state is None:
            return None
        if state.get("format") != FORMAT:
            raise InputError(f"{base}{_STATE} is not of the format {FORMAT}")
        reference = _load(base.with_name(base.name + _REFERENCE)) if state.get("traffic") else None
        return ModelWatch.from_json(state, reference, evaluated, rules)

    def write(self, snapshot: Snapshot) -> None:
        """Write a state. Raises OSError if that fails; the old state then stays."""
        with self._lock:
            self._write(snapshot)

    def _write(self, snapshot: Snapshot) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        base = self._base(snapshot.model, snapshot.state["manifest"])
        if snapshot.reference is not None:
            _replace(base.with_name(base.name + _REFERENCE), snapshot.reference)
        state = {"model": snapshot.model, **snapshot.state}
        _replace(base.with_name(base.name + _STATE), state)
        self._forget_oldest()

    def _base(self, model: str, manifest: str) -> Path:
        return self.folder / hashlib.sha256(f"{model}\0{manifest}".encode()).hexdigest()[:24]

    def _forget_oldest(self) -> None:
        states = sorted(self.folder.glob(f"*{_STATE}"), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in states[_MOST:]:
            name = old.name.removesuffix(_STATE)
            for file in (old, old.with_name(name + _REFERENCE)):
                file.unlink(missing_ok=True)


def states(folder: Path) -> list[dict[str, Any]]:
    """Return the stored states below the folder of --state, the newest first. Damaged ones are left out."""
    found: list[tuple[float, dict[str, Any]]] = []
    for path in (folder / FOLDER).glob(f"*{_STATE}"):
        try:
            state = _load(path)
        except InputError:
            continue
        if state is not None:
            found.append((path.stat().st_mtime, state))
    return [state for _, state in sorted(found, key=lambda one: -one[0])]


def _load(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} holds no object")
    return data


def _replace(path: Path, data: Mapping[str, Any]) -> None:
    staged = path.with_name(path.name + ".new")
    _write_synced(staged, json.dumps(data, allow_nan=False).encode())
    staged.replace(path)


def _write_synced(path: Path, content: bytes) -> None:
    """Write a file that only this user can read, and wait until it is on the disk; a part of it is removed."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
