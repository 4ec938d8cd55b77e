"""Bundles that rollouts have promoted, for a server that is restarted with the old bundle in its settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgehone.bundle.read import Bundle, read
from edgehone.core.errors import EdgehoneError
from edgehone.rollout.decision.store import NAME, Store


def promoted(bundle: Bundle, name: str, state: Path, warn: Callable[[str], None]) -> Bundle:
    """Return the bundle that rollouts of `name` have promoted in the place of this one; this one if none has.

    If the settings name another bundle than the replaced one, that bundle is returned. `warn` is called with what
    is served, and with the reason if a promoted bundle is not.
    """
    if not (state / NAME).exists():
        return bundle
    try:
        store = Store(state)
        try:
            path = store.promoted(name, bundle.manifest.digest)
        finally:
            store.close()
        if path is None:
            return bundle
        found = read(path)
    except EdgehoneError as error:
        warn(f"{name} is served from {bundle.path}, not by the version that was rolled out: {error.message}")
        return bundle
    warn(f"{name} is served from {path}, which a rollout has put in the place of {bundle.path}")
    return found
