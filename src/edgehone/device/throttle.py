"""Read the conditions of a measurement: frequency, temperature, throttling, governor and load.

They are read before and after each round of measurements; `difference` compares the two readings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgehone.device.cpuinfo import parse_cpuinfo
from edgehone.device.sysfs import entries, integer, text
from edgehone.device.thermal import read_zones


@dataclass(frozen=True)
class Conditions:
    """The conditions at one moment. Unknown values are None; `reasons` has the reason under the field's name."""

    frequencies_mhz: tuple[float, ...] | None = None  # one per core, in core order
    core_throttle_count: int | None = None  # sum over the cores since boot
    package_throttle_count: int | None = None  # maximum over the packages
    temperatures_c: Mapping[str, float] | None = None  # thermal zone -> degrees Celsius
    governors: tuple[str, ...] | None = None  # distinct, sorted
    load: tuple[float, float, float] | None = None  # processes, averaged over 1, 5 and 15 minutes
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def mean_mhz(self) -> float | None:
        """Mean frequency of the cores in MHz."""
        if not self.frequencies_mhz:
            return None
        return sum(self.frequencies_mhz) / len(self.frequencies_mhz)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Change:
    """The change between two readings. None: unknown."""

    throttled: bool | None  # True if a throttle counter increased
    core_throttles: int | None
    package_throttles: int | None
    frequency_change: float | None  # relative change of the mean frequency: -0.1 is 10 % slower
    warmest_c: float | None  # highest temperature in both readings
    reasons: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


def read_conditions(root: Path = Path("/sys"), proc: Path = Path("/proc")) -> Conditions:
    """Read the current conditions. Never raises; takes well under a millisecond per core."""
    reasons: dict[str, str] = {}
    cpus = entries(root / "devices/system/cpu", "cpu[0-9]*")
    return Conditions(
        frequencies_mhz=_frequencies(cpus, proc, reasons),
        core_throttle_count=_throttles(cpus, "core_throttle_count", sum, reasons),
        package_throttle_count=_throttles(cpus, "package_throttle_count", max, reasons),
        temperatures_c=_temperatures(root, reasons),
        governors=_governors(cpus, reasons),
        load=_load(proc, reasons),
        reasons=reasons,
    )


def difference(before: Conditions, after: Conditions) -> Change:
    """Return the change from `before` to `after`."""
    core = _increase(before.core_throttle_count, after.core_throttle_count)
    package = _increase(before.package_throttle_count, after.package_throttle_count)
    increases = [increase for increase in (core, package) if increase is not None]
    start, end = before.mean_mhz, after.mean_mhz
    warmest = [*(before.temperatures_c or {}).values(), *(after.temperatures_c or {}).values()]
    return Change(
        throttled=any(increase > 0 for increase in increases) if increases else None,
        core_throttles=core,
        package_throttles=package,
        frequency_change=end / start - 1 if start and end else None,
        warmest_c=max(warmest, default=None),
        reasons={**before.reasons, **after.reasons},
    )


def _frequencies(cpus: list[Path], proc: Path, reasons: dict[str, str]) -> tuple[float, ...] | None:
    clocks = [integer(cpu / "cpufreq/scaling_cur_freq") for cpu in cpus]
    known = tuple(khz / 1000 for khz in clocks if khz is not None)
    if known:
        return known
    try:
        frequencies = parse_cpuinfo((proc / "cpuinfo").read_text(errors="replace")).mhz
    except OSError:
        frequencies = ()
    if frequencies:
        return frequencies
    reasons["frequencies_mhz"] = "neither cpufreq/scaling_cur_freq nor 'cpu MHz' in cpuinfo can be read"
    return None


def _throttles(
    cpus: list[Path], name: str, combine: Callable[[list[int]], int], reasons: dict[str, str]
) -> int | None:
    counts = [integer(cpu / "thermal_throttle" / name) for cpu in cpus]
    known = [count for count in counts if count is not None]
    if known:
        return combine(known)
    reasons[name] = f"thermal_throttle/{name} does not exist (virtual machine, or not an Intel processor)"
    return None


def _temperatures(root: Path, reasons: dict[str, str]) -> dict[str, float] | None:
    zones = {zone.name: zone.celsius for zone in read_zones(root) if zone.celsius is not None}
    if zones:
        return zones
    reasons["temperatures_c"] = "no thermal zone can be read"
    return None


def _governors(cpus: list[Path], reasons: dict[str, str]) -> tuple[str, ...] | None:
    governors = {name for name in (text(cpu / "cpufreq/scaling_governor") for cpu in cpus) if name}
    if governors:
        return tuple(sorted(governors))
    reasons["governors"] = "cpufreq/scaling_governor cannot be read"
    return None


def _load(proc: Path, reasons: dict[str, str]) -> tuple[float, float, float] | None:
    match = re.match(r"([\d.]+) ([\d.]+) ([\d.]+) ", text(proc / "loadavg") or "")
    if match is None:
        reasons["load"] = "loadavg cannot be read"
        return None
    return float(match.group(1)), float(match.group(2)), float(match.group(3))


def _increase(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
