"""The kinds of cores: which are fast, which are frugal.

Sources: the kernel's ABI documents sysfs-devices-system-cpu (cpu_capacity, cpufreq) and the perf devices cpu_core and
cpu_atom of Intel's hybrid processors; on macOS sysctl's hw.perflevel*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgehone.device.sysfs import entries, integer, number, text

# Cores of one kind differ a little in their highest frequency (favoured cores by some 5 %), kinds by far more.
_SAME_KIND = 0.85
# Intel's performance, efficiency and low-power cores, as the perf devices are called.
_INTEL = ("cpu_core", "cpu_atom", "cpu_lowpower")
# No machine has more; a list that goes beyond is not one.
_MOST_CPUS = 1 << 16


@dataclass(frozen=True)
class CoreKind:
    """Logical processors of one kind. `capacity` is the kernel's relative speed, 1024 for the fastest."""

    name: str  # "performance", "middle", "efficiency"; "alike" where there is one kind
    count: int
    max_mhz: float | None = None
    capacity: int | None = None


def read_cores(root: Path, reasons: dict[str, str]) -> tuple[CoreKind, ...] | None:
    """The kinds, the fastest first; None, with the reason under "cores", where the kernel does not tell them apart."""
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
    reasons["cores"] = "neither cpu_capacity, cpufreq nor cpu_core and cpu_atom tell the kinds of cores"
    return None


def darwin_cores(told: Mapping[str, str], reasons: dict[str, str]) -> tuple[CoreKind, ...] | None:
    """The kinds by sysctl's hw.perflevel*; None, with the reason, on a Mac that has none (Intel)."""
    counts = [number(told.get(f"hw.perflevel{level}.logicalcpu")) for level in range(4)]
    known = [count for count in counts if count]
    if known:
        return tuple(CoreKind(name, count) for name, count in zip(_names(len(known)), known, strict=True))
    reasons["cores"] = "sysctl has no hw.perflevel: the cores are alike, or the system is older than macOS 12"
    return None


def parse_list(said: str) -> list[int]:
    """The numbers of "0-3,8": none at all where a part is no number or range."""
    found: list[int] = []
    for part in said.split(","):
        first, dash, last = part.strip().partition("-")
        begin, end = number(first), number(last if dash else first)
        if begin is None or end is None or not 0 <= begin <= end < _MOST_CPUS:
            return []
        found += range(begin, end + 1)
    return found


def _intel(root: Path) -> list[list[str]]:
    lists = [parse_list(text(root / "sys/devices" / name / "cpus") or "") for name in _INTEL]
    return [[str(cpu) for cpu in cpus] for cpus in lists if cpus]


def _equal(values: Mapping[str, int | None]) -> list[list[str]]:
    known = sorted({value for value in values.values() if value is not None}, reverse=True)
    return [[name for name, value in values.items() if value == one] for one in known]


def _near(values: Mapping[str, float | None]) -> list[list[str]]:
    """Groups whose slowest is at least the share _SAME_KIND of their fastest."""
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
