"""The limits in limits.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """Limits of requests; limits.toml says what each is and why."""

    connect: float
    idle: float
    answer: float
    confirm: float
    least_bytes: int
    attempts: int
    first_pause: float
    most_manifest_bytes: int
    segment_bytes: int


def shipped() -> Limits:
    """Return the limits that ship."""
    return Limits(**tomllib.loads(Path(__file__).with_name("limits.toml").read_text("utf-8")))
