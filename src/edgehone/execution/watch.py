"""Watching a running child from outside, so that looking does not disturb what it measures."""

from __future__ import annotations

from typing import Any


class Watch:
    """Samples of a running child, taken by the parent: `sample(pid)` every `seconds`, then `result()`."""

    seconds = 0.5

    def sample(self, pid: int) -> None:
        """Look at the child once."""

    def result(self) -> dict[str, Any]:
        """What to keep of all samples."""
        return {}
