"""What a check gives, and how it says so. Imported on both sides."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["pass", "fail", "skip"]
Check = Callable[[Any], str]


class Failed(Exception):
    """What is demanded is not so; the message says what was seen."""


class Skipped(Exception):
    """The check has nothing to look at; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """One check's result: `seen` is what was seen, or why it was skipped; `demand` what is demanded and why."""

    check: str
    state: State
    seen: str
    demand: str

    def to_json(self) -> dict[str, str]:
        """A plain dict."""
        return asdict(self)


def perform(check: Check, subject: Any) -> Outcome:
    """Run a check; whatever it raises is its result."""
    try:
        return outcome(check, "pass", check(subject))
    except Skipped as reason:
        return outcome(check, "skip", str(reason))
    except Failed as seen:
        return outcome(check, "fail", str(seen))
    except Exception as error:  # noqa: BLE001 - a backend may raise anything, and that is what was seen
        return outcome(check, "fail", f"{type(error).__name__}: {error}")


def outcome(check: Check, state: State, seen: str) -> Outcome:
    """The outcome of a check that was run elsewhere, or could not be run."""
    return Outcome(check.__name__, state, seen, " ".join((inspect.getdoc(check) or "").split()))


def demand(ok: bool, seen: str) -> None:
    """Raise Failed with what was seen unless `ok`."""
    if not ok:
        raise Failed(seen)
