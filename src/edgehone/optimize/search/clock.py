"""The clock of a search: how much of the time that the user gave is left.

It counts monotonic time, which nobody can set back or forward.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from edgehone.core.errors import InputError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Clock:
    """`seconds` from when it was made."""

    seconds: float
    begun: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds, below 0 once they are over."""
        return self.seconds - (time.monotonic() - self.begun)

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.left <= 0

    def took(self, seconds: float) -> None:
        """Nothing: a clock counts by itself what a `Budget` must be told."""

    def part(self, share: float) -> Clock:
        """The same beginning, with a share of the time."""
        return Clock(self.seconds * share, self.begun)


@dataclass
class Budget:
    """So many seconds of measuring, by what each job took when it ran: a run that finds it done decides the same."""

    seconds: float
    spent: float = 0.0

    @property
    def over(self) -> bool:
        """Whether they are spent."""
        return self.spent >= self.seconds

    def took(self, seconds: float) -> None:
        """Count what a job took."""
        self.spent += seconds


def seconds_of(text: str, option: str = "--time") -> float:
    """`90s`, `10m`, `1h30m` or plain seconds. Raises InputError for anything else, and for less than a second."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smh]?)", text)
    whole = re.fullmatch(r"\s*(?:\d+(?:\.\d+)?\s*[smh]\s*)+|\s*\d+(?:\.\d+)?\s*", text)
    seconds = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts) if whole else 0.0
    if not 1 <= seconds < 1e7:
        raise InputError(
            f"{option} {text!r} is no length of time",
            hint=f"write for example {option} 10m or {option} 1h30m",
        )
    return seconds
