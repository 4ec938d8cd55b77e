"""The detectors and the constants of drift.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

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
    """How a finding about one value is told."""

    what: str
    up: str
    down: str
    unit: str


@dataclass(frozen=True)
class Settings:
    """The constants of the tests; drift.toml says what each field is."""

    batch: int
    least: int
    pool: int
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
