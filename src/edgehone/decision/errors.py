"""The errors raised when no candidate passes every gate."""

from __future__ import annotations

from pathlib import Path

from edgehone.core.errors import EdgehoneError
from edgehone.decision.decision import Decision


class NothingPasses(EdgehoneError):
    """No candidate passes every gate. `decision` has the verdicts.

    `bundle` is the folder of the fallback's bundle, which is not approved; None if none was written.
    """

    exit_code = 3

    def __init__(
        self, message: str, decision: Decision, *, bundle: Path | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.decision = decision
        self.bundle = bundle


class NotDecided(NothingPasses):
    """No candidate passes every gate, but a candidate may: its speed could not be measured precisely enough."""

    exit_code = 4
