"""Sample a running child from the parent, so that sampling does not disturb what the child measures."""

from __future__ import annotations

from typing import Any


class Watch:
    """Samples of a running child. The parent calls `sample(pid)` every `seconds`, and `result()` at the end.

    This class takes no samples; others derive from it.
    """

    seconds = 0.5

    def sample(self, pid: int) -> None:
        """Take one sample of the process `pid`."""

    def result(self) -> dict[str, Any]:
        """Return what to store of all samples."""
        return {}
