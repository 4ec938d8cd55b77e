"""The result of a check. Used by the core and by workers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["pass", "fail", "skip"]
Check = Callable[[Any], str]


class Failed(Exception):
    """The requirement is violated. The message is the observation."""


class Skipped(Exception):
    """The check does not apply. The message is the reason."""


@dataclass(frozen=True)
class Outcome:
    """The result of one check: `seen` is the observation, or why it was skipped; `demand` is the requirement."""

    check: str
    state: State
    seen: str
    demand: str

    def to_json(self) -> dict[str, str]:
        """Return a JSON object."""
        return asdict(self)


def perform(check: Check, subject: Any) -> Outcome:
    """Run a check. An exception that it raises is its result."""
    try:
        return outcome(check, "pass", check(subject))
    except Skipped as reason:
        return outcome(check, "skip", str(reason))
    except Failed as seen:
        return outcome(check, "fail", str(seen))
    except Exception as error:  # noqa: BLE001 - a backend may raise anything, which is the observation
        return outcome(check, "fail", f"{type(error).__name__}: {error}")


def outcome(check: Check, state: State, seen: str) -> Outcome:
    """Return an outcome of a check, with its docstring as the requirement."""
    return Outcome(check.__name__, state, seen, " ".join((inspect.getdoc(check) or "").split()))


def demand(ok: bool, seen: str) -> None:
    """Raise Failed with the observation unless `ok`."""
    if not ok:
        raise Failed(seen)
