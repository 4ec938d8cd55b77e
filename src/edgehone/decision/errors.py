"""The error raised when no candidate passes every gate."""

from __future__ import annotations

from edgehone.core.errors import EdgehoneError
from edgehone.decision.decision import Decision


class NothingPasses(EdgehoneError):
    """No candidate passes every gate, so no bundle is written. `decision` has the verdicts."""

    exit_code = 3

    def __init__(self, message: str, decision: Decision, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.decision = decision
