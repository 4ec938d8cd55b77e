"""The detectors and the constants of drift.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.drift.signal import Kind


@dataclass(frozen=True)
class Detector:
    """A detector; drift.toml says what each field is."""

    kind: Kind
    tolerance: float
    share: float
    directions: tuple[str, ...]


@dataclass(frozen=True)
class Words:
    """How a finding about one value is described."""

    what: str
    up: str
    down: str
    unit: str


@dataclass(frozen=True)
class Settings:
    """The constants of the tests; drift.toml says what each field is."""

    batch: int
    least: int
    pool_errors: float
    bets: tuple[float, ...]
    tails: tuple[float, ...]
    location_weight: float
    detectors: Mapping[str, Detector]
    words: Mapping[str, Words]


@cache
def settings() -> Settings:
    """Return the shipped settings."""
    data = tomllib.loads(Path(__file__).with_name("drift.toml").read_text("utf-8"))
    detectors = {
        name: Detector(**{**table, "directions": tuple(table["directions"])})
        for name, table in data.pop("detector").items()
    }
    words = {name: Words(**table) for name, table in data.pop("words").items()}
    data |= {"bets": tuple(data["bets"]), "tails": tuple(data["tails"])}
    return Settings(**data, detectors=detectors, words=words)


def detector_of(value: str) -> str:
    """Return the name of the detector of a value: `latency` of `latency.seconds`."""
    return value.partition(".")[0]


def choose(detectors: Collection[str] | None, tolerances: Mapping[str, float] | None) -> dict[str, float]:
    """Return the tolerance of each detector that is to be used.

    Raises InputError for the name of no detector, and a tolerance that is not in [0, 0.5).
    """
    shipped = settings().detectors
    given = tolerances or {}
    for name in (*(detectors or ()), *given):
        if name not in shipped:
            raise InputError(f"there is no drift detector {name!r}", hint=suggest(name, list(shipped)))
    for name, value in given.items():
        if not 0 <= value < 0.5:
            raise InputError(
                f"the tolerance of the drift detector {name!r} is {value!r}; expected a number from 0 to below 0.5",
                hint=f"its default is {shipped[name].tolerance}",
            )
    used = shipped if detectors is None else detectors
    return {name: given.get(name, shipped[name].tolerance) for name in shipped if name in used}
