"""The lease of the program that operates a server, one at a time. A killed program does not renew it and loses it."""

from __future__ import annotations

import time


class Lease:
    """The right to operate a server, held by the id of an operator until it expires."""

    def __init__(self) -> None:
        self.holder: str | None = None
        self._until = 0.0

    def take(self, operator: str, seconds: float) -> bool:
        """Take or renew it for so many seconds; 0 gives it back. Returns whether the operator may go on."""
        now = time.monotonic()
        if self.holder not in (None, operator) and now < self._until:
            return False
        self.holder, self._until = (operator, now + seconds) if seconds else (None, 0.0)
        return True
