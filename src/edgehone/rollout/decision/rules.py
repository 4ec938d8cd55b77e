"""The rules of rollouts: rules.toml, and a file of the user's that replaces single entries of it."""

from __future__ import annotations

import functools
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest

STRATEGIES = ("blue-green", "ramp", "ab", "shadow")


@dataclass(frozen=True)
class Objective:
    """What is compared, smaller values being better: by which margins, and with which share of alpha.

    With `quantile` a value says whether a time is above factor * quantile of the champion + plus_seconds. `absolute`:
    the value itself is tested, not the difference to the champion's.
    """

    name: str
    role: str
    share: float
    harm: float
    not_worse: float
    quantile: float | None = None
    factor: float = 1.0
    plus_seconds: float = 0.0
    absolute: bool = False


@dataclass(frozen=True)
class Stage:
    """A step: the share of requests that the challenger answers, or copies of requests (`shadow`).

    It lasts at least so many seconds, and requests to the challenger. The margins `not_worse` are `wider` times as
    wide, and limits of times `slack` times as long.
    """

    name: str
    weight: float = 0.0
    shadow: bool = False
    seconds: float = 0.0
    requests: int = 0
    wider: float = 1.0
    slack: float = 1.0


@dataclass(frozen=True)
class MemoryRules:
    """The most that a challenger may take, and the least that must be left."""

    factor: float
    plus_megabytes: float
    samples: int
    least_available_megabytes: float


@dataclass(frozen=True)
class LeakRules:
    """When rising memory is a leak: windows in seconds, tolerated share of records, least growth in a window."""

    share: float
    window_seconds: float
    settle_windows: int
    tolerance: float
    least_growth: float


@dataclass(frozen=True)
class AbRules:
    """A/B tests: level, least and most requests of each version, expected size of effects by metric."""

    alpha: float
    least_requests: int
    most_requests: int
    scales: Mapping[str, float]


@dataclass(frozen=True)
class Rules:
    """All rules (rules.toml says what they mean)."""

    alpha: float
    promote_alpha: float
    bets: tuple[float, ...]
    later: float
    level_share: float
    baseline_requests: int
    patience_seconds: float
    most_interruptions: int
    objectives: tuple[Objective, ...]
    memory: MemoryRules
    leak: LeakRules
    strategies: Mapping[str, tuple[Stage, ...]]
    ab: AbRules
    table: Mapping[str, Any]  # as read, for the store

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the objectives."""
        return tuple(one.name for one in self.objectives)


@functools.cache
def shipped() -> Rules:
    """Return the rules that ship."""
    return of_table(_table())


def read_rules(file: Path | None) -> Rules:
    """Return the rules that ship, with the entries of a TOML file in their place. Raises InputError."""
    return shipped() if file is None else with_entries(entries(file), str(file))


def entries(file: Path) -> dict[str, Any]:
    """Return the entries of a TOML file that replace some of the rules. Raises InputError if they are not possible."""
    try:
        given = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the rules {file} cannot be read: {error}", hint="see docs/rollout.md") from error
    with_entries(given, str(file))
    return given


def with_entries(given: Mapping[str, Any], source: str) -> Rules:
    """Return the rules that ship with entries in their place. Raises InputError, which names `source`."""
    return of_table(_merged(_table(), given, "", source), source)


def of_table(table: Mapping[str, Any], source: str = "the rules") -> Rules:
    """Return the rules of a complete table. Raises InputError for values that are not possible."""
    try:
        rules = _read(table)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{source}: {error}", hint="see docs/rollout.md") from error
    _check(rules, source)
    return rules


def strategy_of(name: str) -> str:
    """Return the name of a strategy. Raises InputError for an unknown one."""
    if name not in STRATEGIES:
        raise InputError(f"{name[:80]!r} is no strategy", hint=suggest(name, STRATEGIES))
    return name


def _table() -> dict[str, Any]:
    return tomllib.loads((files("edgehone.rollout.decision") / "rules.toml").read_text("utf-8"))


def _merged(base: Mapping[str, Any], given: Mapping[str, Any], path: str, source: str) -> dict[str, Any]:
    """Replace entries, also of tables within; a list is replaced as a whole."""
    found = dict(base)
    for key, value in given.items():
        where = f"{path}{key}"
        if key not in base:
            raise InputError(f"{source}: there is no rule {where!r}", hint=suggest(key, [*base]))
        if isinstance(base[key], dict):
            if not isinstance(value, dict):
                raise InputError(f"{source}: {where} is {value!r}, no table", hint="see docs/rollout.md")
            found[key] = _merged(base[key], value, f"{where}.", source)
        else:
            found[key] = value
    return found


def _read(table: Mapping[str, Any]) -> Rules:
    objectives = tuple(Objective(name, **one) for name, one in table["objective"].items())
    ab = table["ab"]
    return Rules(
        alpha=float(table["alpha"]),
        promote_alpha=float(table["promote_alpha"]),
        later=float(table["later"]),
        level_share=float(table["level_share"]),
        patience_seconds=float(table["patience_seconds"]),
        baseline_requests=int(table["baseline_requests"]),
        most_interruptions=int(table["most_interruptions"]),
        bets=tuple(map(float, table["bets"])),
        objectives=objectives,
        memory=MemoryRules(**table["memory"]),
        leak=LeakRules(**table["leak"]),
        strategies={name: tuple(Stage(**one) for one in table["strategy"][name]) for name in STRATEGIES},
        ab=AbRules(
            ab["alpha"],
            ab["least_requests"],
            ab["most_requests"],
            {name: float(one["scale"]) for name, one in ab["metric"].items()},
        ),
        table=json.loads(json.dumps(table)),
    )  # fmt: skip


def _check(rules: Rules, source: str) -> None:
    """Raise InputError for rules under which the bounds would not hold."""
    in_unit = {
        "alpha": rules.alpha, "promote_alpha": rules.promote_alpha, "later": rules.later,
        "level_share": rules.level_share, "leak.share": rules.leak.share, "ab.alpha": rules.ab.alpha,
        "leak.tolerance": rules.leak.tolerance,
        **{f"bets[{at}]": one for at, one in enumerate(rules.bets)},
        **{f"ab.metric.{name}.scale": one for name, one in rules.ab.scales.items()},
    }  # fmt: skip
    for one in rules.objectives:
        names = ("share", "harm", "not_worse", *(("quantile",) if one.quantile is not None else ()))
        in_unit |= {f"objective.{one.name}.{name}": getattr(one, name) for name in names}
        if one.role not in ("required", "quality"):
            raise InputError(
                f"{source}: objective.{one.name}.role is {one.role!r}", hint='"required" or "quality"'
            )
        if one.not_worse < one.harm:
            raise InputError(
                f"{source}: objective.{one.name}.not_worse is {one.not_worse}, less than harm, {one.harm}",
                hint="a challenger could be shown worse and not worse at the same time",
            )
    for name, value in in_unit.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise InputError(f"{source}: {name} is {value!r}", hint="give a number between 0 and 1")
    if (total := sum(one.share for one in rules.objectives) + rules.leak.share) > 1 + 1e-9:
        raise InputError(f"{source}: the shares sum to {total:.3f}", hint="at most 1, or alpha does not hold")
    if max(one * (1 + obj.harm) for one in rules.bets for obj in rules.objectives) >= 1:
        raise InputError(f"{source}: a bet of {max(rules.bets)} could lose more than all", hint="at most 0.7")
    for strategy, stages in rules.strategies.items():
        _check_stages(strategy, stages, source)
    least = {"patience_seconds": rules.patience_seconds, "baseline_requests": rules.baseline_requests}
    least |= {f"{part}.{one.name}": getattr(getattr(rules, part), one.name)
              for part in ("memory", "leak") for one in fields(getattr(rules, part))}  # fmt: skip
    for name, value in least.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise InputError(f"{source}: {name} is {value!r}", hint="give a number from 0")


def _check_stages(strategy: str, stages: tuple[Stage, ...], source: str) -> None:
    if not stages:
        raise InputError(f"{source}: strategy.{strategy} has no stages", hint="see docs/rollout.md")
    if stages[0].weight >= 1:
        raise InputError(
            f"{source}: strategy.{strategy} begins with all requests, so nothing is known of the champion",
            hint="put a shadow stage, or one with less weight, before it",
        )
    last = 0.0
    for one in stages:
        if not 0 <= one.weight <= 1 or one.shadow == (one.weight > 0) or one.weight < last:
            raise InputError(
                f"{source}: strategy.{strategy}: the stage {one.name!r} has weight {one.weight}",
                hint="a shadow stage has none, others one up to 1, not below the one before",
            )
        if one.seconds < 0 or one.requests < 0 or min(one.wider, one.slack) < 1:
            raise InputError(
                f"{source}: strategy.{strategy}: {one.name!r} lasts {one.seconds} s, {one.requests} requests, and is "
                f"{one.wider} times as wide, with {one.slack} times the limits",
                hint="give numbers from 0, and for wider and slack from 1",
            )
        last = one.weight
