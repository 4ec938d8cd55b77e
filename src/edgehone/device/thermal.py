"""Thermal zones: how warm they are, and at which temperatures the kernel acts.

Source: the kernel's ABI document sysfs-class-thermal. Temperatures are in thousandths of a degree Celsius there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgehone.device.sysfs import entries, integer, text

# Below it a trip point is switched off (the kernel writes -274000), above it nothing runs any more.
_COLDEST, _HOTTEST = -55.0, 250.0


@dataclass(frozen=True)
class Trip:
    """At `celsius` the kernel does what `kind` says: "passive" slows down, "active" cools, "critical" shuts down."""

    kind: str
    celsius: float


@dataclass(frozen=True)
class Zone:
    """`celsius` is None for a sensor that is off."""

    name: str  # "thermal_zone0 x86_pkg_temp"
    celsius: float | None
    trips: tuple[Trip, ...] = ()


def read_zones(sys: Path) -> tuple[Zone, ...]:
    """All zones under `sys`, none where there are none."""
    return tuple(
        Zone(f"{zone.name} {text(zone / 'type') or ''}".strip(), _celsius(zone / "temp"), _trips(zone))
        for zone in entries(sys / "class/thermal", "thermal_zone*")
    )


def _trips(zone: Path) -> tuple[Trip, ...]:
    found = []
    for file in entries(zone, "trip_point_*_temp"):
        kind = text(zone / f"{file.name.removesuffix('_temp')}_type")
        celsius = _celsius(file)
        if kind and celsius is not None and celsius > 0:
            found.append(Trip(kind, celsius))
    return tuple(found)


def _celsius(file: Path) -> float | None:
    thousandths = integer(file)
    if thousandths is None or not _COLDEST <= thousandths / 1000 <= _HOTTEST:
        return None
    return thousandths / 1000
