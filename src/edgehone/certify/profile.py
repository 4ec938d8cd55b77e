"""The profile of a certification: thresholds and how much is measured, from data/production.toml and a user's file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edgehone.core import typed_json
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.core.typed_json import OPTIONAL

_HINT = "the fields and their defaults: src/edgehone/data/production.toml, or docs/certify.md"
_TABLES = ("checks", "measure", "targets", "monitoring")
Positive = Annotated[float, msgspec.Meta(gt=0)]
Several = Annotated[int, msgspec.Meta(ge=2)]
Limit = Positive | None


@dataclass(frozen=True)
class Rule:
    """What a check is judged by. `threshold` is None for a check that counts problems."""

    required: bool
    threshold: Annotated[float, msgspec.Meta(ge=0)] | None = field(default=None, metadata=OPTIONAL)

    @property
    def limit(self) -> float:
        """The threshold of a check that has one."""
        assert self.threshold is not None
        return self.threshold


@dataclass(frozen=True)
class Measure:
    """How much is measured; data/production.toml says what each field is."""

    windows: Several
    perturbed: Several
    long_windows: Several
    samples: Annotated[int, msgspec.Meta(ge=8)]
    latency_seconds: Positive
    rounds: Several
    stress_seconds: Positive
    soak_seconds: Positive


@dataclass(frozen=True)
class Targets:
    """Absolute limits of performance; None: the decision's figure is the limit."""

    latency_p50_ms: Limit = field(default=None, metadata=OPTIONAL)
    latency_p95_ms: Limit = field(default=None, metadata=OPTIONAL)
    latency_p99_ms: Limit = field(default=None, metadata=OPTIONAL)
    throughput_per_s: Limit = field(default=None, metadata=OPTIONAL)
    memory_mb: Limit = field(default=None, metadata=OPTIONAL)
    size_mb: Limit = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class Monitoring:
    """Limits of alerts as multiples of the baselines (`edgehone.monitor`); `error_rate` is a share of the requests."""

    latency: Positive
    memory: Positive
    throughput: Positive
    error_rate: Positive
    accuracy: Positive


@dataclass(frozen=True)
class Profile:
    """Rules by the name of their check, and how much is measured."""

    name: str
    checks: Mapping[str, Rule]
    measure: Measure
    targets: Targets
    monitoring: Monitoring

    def with_soak(self, seconds: float) -> Profile:
        """Return the profile with another length of the soak."""
        return replace(self, measure=replace(self.measure, soak_seconds=seconds))


def read_profile(path: Path | None = None) -> Profile:
    """Return the shipped profile, with the tables of the user's file over it.

    Raises InputError for a file that cannot be read, an unknown check, table or field, and a value out of range.
    """
    shipped = tomllib.loads(files("edgehone").joinpath("data/production.toml").read_text("utf-8"))
    if path is None:
        return typed_json.read(Profile, shipped, "production.toml", hint=_HINT)
    given = _load(path)
    if unknown := [name for name in given if name not in ("name", *_TABLES)]:
        raise InputError(
            f"{path} has the unknown table {unknown[0]!r}", hint=suggest(unknown[0], ("name", *_TABLES))
        )
    merged = {**shipped, "name": given.get("name", path.stem)}
    for table in _TABLES:
        merged[table] = {**shipped[table], **_table(path, table, given.get(table, {}))}
    for name, rule in _table(path, "checks", given.get("checks", {})).items():
        if name not in shipped["checks"]:
            raise InputError(
                f"{path}: there is no check {name!r}", hint=suggest(name, list(shipped["checks"]))
            )
        merged["checks"][name] = {**shipped["checks"][name], **_table(path, f"checks.{name}", rule)}
        if "threshold" in merged["checks"][name] and "threshold" not in shipped["checks"][name]:
            raise InputError(
                f"{path}: checks.{name} counts problems and has no threshold",
                hint=f"leave it out, or write required = false under [checks.{name}]",
            )
    return typed_json.read(Profile, merged, str(path), hint=_HINT)


def _table(path: Path, name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{path}: {name} is {value!r}, not a table", hint=f"write [{name}]")
    return value


def _load(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        problem = why_absent(path, f"no such profile: {path}")
        raise InputError(problem, hint="leave --profile out for the shipped one") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint=_HINT) from error
