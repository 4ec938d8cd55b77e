"""The figures in fleet.toml, and those that a user gives in their place."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest


@dataclass(frozen=True)
class JudgeRules:
    """How waves are judged; fleet.toml says what each is and why."""

    limit: float
    alpha: float
    pass_alpha: float
    least_good: int
    silent_hours: float


@dataclass(frozen=True)
class ChannelRules:
    """How long a channel's document is valid."""

    expires_days: float
    renew_share: float


@dataclass(frozen=True)
class AgentRules:
    """The times and limits of an agent."""

    poll_seconds: float
    jitter: float
    longest_poll_seconds: float
    start_seconds: float
    probation_seconds: float
    unready_seconds: float
    drain_seconds: float
    most_tries: int
    longest_restart_seconds: float
    reserve_bytes: int
    beside_share: float
    kept_outcomes: int


# Smallest and largest value of what a user may give; everything else must be positive.
_SHARES = ("limit", "alpha", "pass_alpha", "renew_share", "jitter", "beside_share")
_WHOLE = ("least_good", "most_tries", "reserve_bytes", "kept_outcomes")


@cache
def shipped() -> Mapping[str, Mapping[str, Any]]:
    """Return the tables of fleet.toml."""
    return tomllib.loads(Path(__file__).with_name("fleet.toml").read_text("utf-8"))


def judge_rules(file: Path | None = None) -> JudgeRules:
    """Return the rules of waves, with the entries of a TOML file in the place of those that ship."""
    return JudgeRules(**merged("judge", _table(file), str(file)))


def channel_rules(days: float | None = None) -> ChannelRules:
    """Return the rules of a channel's document."""
    given = {} if days is None else {"expires_days": days}
    return ChannelRules(**merged("channel", given, "--expires"))


def agent_rules(given: Mapping[str, Any], source: str) -> AgentRules:
    """Return the rules of an agent, with the given entries in the place of those that ship."""
    return AgentRules(**merged("agent", given, source))


def names_of_agent_rules() -> tuple[str, ...]:
    """Return the names of an agent's rules."""
    return tuple(one.name for one in fields(AgentRules))


def merged(name: str, given: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return a table with entries replaced. Raises InputError for an unknown one, or a value out of range."""
    table = dict(shipped()[name])
    for key, value in given.items():
        if key not in table:
            raise InputError(f"{source}: {key!r} is unknown", hint=suggest(key, table))
        whole = key in _WHOLE
        is_number = isinstance(value, int) if whole else isinstance(value, int | float)
        most = 1 if key in _SHARES else float("inf")
        if isinstance(value, bool) or not is_number or not 0 < value <= most:
            wanted = (
                "a whole number above 0"
                if whole
                else f"a number above 0{'' if most > 1 else ' and at most 1'}"
            )
            raise InputError(f"{source}: {key} is {value!r}", hint=f"give {wanted}")
        table[key] = value
    return table


def _table(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the rules {file} cannot be read: {error}", hint="see docs/fleets.md") from error
