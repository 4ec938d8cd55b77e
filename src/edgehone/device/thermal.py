"""Read thermal zones: their temperatures, and the temperatures at which the kernel acts.

Source: the kernel's ABI document sysfs-class-thermal. The files are in thousandths of a degree Celsius.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgehone.device.sysfs import entries, integer, text

# Values outside are invalid. The kernel writes -274000 for a disabled trip point.
_COLDEST, _HOTTEST = -55.0, 250.0


@dataclass(frozen=True)
class Trip:
    """A temperature at which the kernel acts: "passive" slows down, "active" cools, "critical" shuts down."""

    kind: str
    celsius: float


@dataclass(frozen=True)
class Zone:
    """A thermal zone. `celsius` is None for a disabled sensor."""

    name: str  # "thermal_zone0 x86_pkg_temp"
    celsius: float | None
    trips: tuple[Trip, ...] = ()


def read_zones(sys: Path) -> tuple[Zone, ...]:
    """Return all zones under `sys`."""
    return tuple(
        Zone(f"{zone.name} {text(zone / 'type') or ''}".strip(), _celsius(zone / "temp"), _trips(zone))
        for zone in entries(sys / "class/thermal", "thermal_zone*")
    )


def _trips(zone: Path) -> tuple[Trip, ...]:
    trips = []
    for file in entries(zone, "trip_point_*_temp"):
        kind = text(zone / f"{file.name.removesuffix('_temp')}_type")
        celsius = _celsius(file)
        if kind and celsius is not None and celsius > 0:
            trips.append(Trip(kind, celsius))
    return tuple(trips)


def _celsius(file: Path) -> float | None:
    thousandths = integer(file)
    if thousandths is None or not _COLDEST <= thousandths / 1000 <= _HOTTEST:
        return None
    return thousandths / 1000
