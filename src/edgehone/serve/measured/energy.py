"""The energy that the processor packages took while the server ran."""

from __future__ import annotations

from pathlib import Path

from edgehone.worker import energy


class EnergyReader:
    """Adds up the counters of the packages. They wrap around after an hour or so, and are read far more often."""

    def __init__(self, root: Path = energy.POWERCAP) -> None:
        self.reason = energy.why_unreadable(root)  # why there is no figure; None if there is one
        self._root = root
        self._before = None if self.reason else energy.read(root)
        self._joules = 0.0

    def read(self) -> float | None:
        """Return the joules since the server began; None without a counter."""
        if self._before is None:
            return None
        try:
            now = energy.read(self._root)
        except (OSError, ValueError):
            return self._joules  # it cannot be read at the moment
        self._joules += energy.joules(self._before, now)
        self._before = now
        return self._joules
