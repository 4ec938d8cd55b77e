"""What a run tells those who watch it, as it happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["waiting", "building", "scoring", "measuring", "done", "failed", "disqualified", "skipped"]


@dataclass(frozen=True)
class Event:
    """A candidate's (or, with `key=''`, the whole run's) new state.

    `detail` is for people; `fraction` (0 to 1) is the part of this state that is done, where it is known.
    """

    key: str
    state: State | None = None
    detail: str = ""
    fraction: float | None = None


Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """Watch nothing."""
