"""The null backend's clock: it moves on by the times that a session computes."""

from __future__ import annotations


class VirtualClock:
    """A clock that stands still but for `sleep`, which returns at once."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Return the seconds since the clock was made."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move the clock forward by some seconds."""
        self._now += seconds
