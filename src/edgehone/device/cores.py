"""Detect performance and efficiency cores.

Sources: the kernel's ABI documents sysfs-devices-system-cpu (cpu_capacity, cpufreq) and the perf devices cpu_core and
cpu_atom of Intel's hybrid processors; on macOS hw.perflevel* of sysctl.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgehone.device.sysfs import entries, integer, number, text

# Maximum frequencies differ by about 5 % among cores of one kind (favoured cores), by far more between kinds.
_SAME_KIND = 0.85
# Names of the perf devices of Intel's performance, efficiency and low-power cores.
_INTEL = ("cpu_core", "cpu_atom", "cpu_lowpower")
# An upper limit on CPU numbers; a list beyond it is invalid.
_MOST_CPUS = 1 << 16


@dataclass(frozen=True)
class CoreKind:
    """Logical processors of one kind. `capacity`: relative speed as the kernel rates it, 1024 for the fastest."""

    name: str  # "performance", "middle", "efficiency"; "alike" if all cores are of one kind
    count: int
    max_mhz: float | None = None
    capacity: int | None = None


def read_cores(root: Path, reasons: dict[str, str]) -> tuple[CoreKind, ...] | None:
    """Return the kinds of cores, fastest first, or None, with a reason under "cores", if they are unknown."""
    cpus = {cpu.name[3:]: cpu for cpu in entries(root / "sys/devices/system/cpu", "cpu[0-9]*")}
    mhz = {name: _mhz(cpu) for name, cpu in cpus.items()}
    capacity = {name: integer(cpu / "cpu_capacity") for name, cpu in cpus.items()}
    for groups in (_intel(root), _equal(capacity), _near(mhz)):
        if groups:
            return tuple(
                CoreKind(
                    name,
                    len(group),
                    max((one for cpu in group if (one := mhz.get(cpu))), default=None),
                    max((one for cpu in group if (one := capacity.get(cpu))), default=None),
                )
                for name, group in zip(_names(len(groups)), groups, strict=True)
            )
    reasons["cores"] = "neither cpu_capacity, cpufreq nor cpu_core and cpu_atom distinguish kinds of cores"
    return None


def darwin_cores(sysctl: Mapping[str, str], reasons: dict[str, str]) -> tuple[CoreKind, ...] | None:
    """Return the kinds of cores from hw.perflevel* of sysctl, or None, with a reason, on Macs without it (Intel)."""
    counts = [number(sysctl.get(f"hw.perflevel{level}.logicalcpu")) for level in range(4)]
    known = [count for count in counts if count]
    if known:
        return tuple(CoreKind(name, count) for name, count in zip(_names(len(known)), known, strict=True))
    reasons["cores"] = "sysctl has no hw.perflevel: the cores are alike, or the system is older than macOS 12"
    return None


def parse_list(cpus: str) -> list[int]:
    """Return the numbers in a list such as "0-3,8", or an empty list if any part is invalid."""
    numbers: list[int] = []
    for part in cpus.split(","):
        first, dash, last = part.strip().partition("-")
        begin, end = number(first), number(last if dash else first)
        if begin is None or end is None or not 0 <= begin <= end < _MOST_CPUS:
            return []
        numbers += range(begin, end + 1)
    return numbers


def _intel(root: Path) -> list[list[str]]:
    lists = [parse_list(text(root / "sys/devices" / name / "cpus") or "") for name in _INTEL]
    return [[str(cpu) for cpu in cpus] for cpus in lists if cpus]


def _equal(values: Mapping[str, int | None]) -> list[list[str]]:
    known = sorted({value for value in values.values() if value is not None}, reverse=True)
    return [[name for name, value in values.items() if value == one] for one in known]


def _near(values: Mapping[str, float | None]) -> list[list[str]]:
    """Group values so that the smallest in each group is at least _SAME_KIND times the largest."""
    known = sorted(((value, name) for name, value in values.items() if value), reverse=True)
    groups: list[list[str]] = []
    fastest = 0.0
    for value, name in known:
        if not groups or value < _SAME_KIND * fastest:
            groups.append([])
            fastest = value
        groups[-1].append(name)
    return groups


def _mhz(cpu: Path) -> float | None:
    khz = integer(cpu / "cpufreq/cpuinfo_max_freq")
    return khz / 1000 if khz and khz > 0 else None


def _names(kinds: int) -> list[str]:
    if kinds == 1:
        return ["alike"]
    return ["performance", *["middle"] * (kinds - 2), "efficiency"]
