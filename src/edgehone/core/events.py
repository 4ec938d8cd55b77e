"""Progress events of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["waiting", "building", "scoring", "measuring", "done", "failed", "disqualified", "skipped"]


@dataclass(frozen=True)
class Event:
    """The new state of a candidate, or of the whole run if `key` is empty.

    `detail` is a text for display. `fraction` (0 to 1) is the part of this state that is done, None if unknown.
    """

    key: str
    state: State | None = None
    detail: str = ""
    fraction: float | None = None


Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """Ignore the event."""
