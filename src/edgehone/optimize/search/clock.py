"""The time limit of a search. It uses the monotonic clock, which system clock changes do not affect."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from edgehone.core.errors import InputError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Clock:
    """A wall-clock limit of `seconds`, counted from its creation."""

    seconds: float
    begun: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds left; negative after the end."""
        return self.seconds - (time.monotonic() - self.begun)

    @property
    def over(self) -> bool:
        """True if the time is over."""
        return self.left <= 0

    def spend(self, seconds: float) -> None:
        """No-op: wall-clock time needs no explicit accounting."""

    def part(self, share: float) -> Clock:
        """Return a clock with the same start and a share of the time."""
        return Clock(self.seconds * share, self.begun)


@dataclass
class Budget:
    """A budget of measuring seconds. It counts the recorded duration of each job, so that a run that finds the jobs in
    the store decides the same."""

    seconds: float
    spent: float = 0.0

    @property
    def over(self) -> bool:
        """True if the budget is spent."""
        return self.spent >= self.seconds

    def spend(self, seconds: float) -> None:
        """Count the duration of a job."""
        self.spent += seconds


def seconds_of(text: str, option: str = "--time") -> float:
    """Parse `90s`, `10m`, `1h30m` or plain seconds. Raises InputError for anything else, and below one second."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smh]?)", text)
    whole = re.fullmatch(r"\s*(?:\d+(?:\.\d+)?\s*[smh]\s*)+|\s*\d+(?:\.\d+)?\s*", text)
    seconds = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts) if whole else 0.0
    if not 1 <= seconds < 1e7:
        raise InputError(
            f"{option} {text!r} is not a duration",
            hint=f"for example {option} 10m or {option} 1h30m",
        )
    return seconds
