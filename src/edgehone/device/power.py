"""Read the power source of the machine and the power limits of the processor.

Sources: the kernel's ABI documents sysfs-class-power and sysfs-class-powercap (RAPL); pmset(1) on macOS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgehone.device.sysfs import entries, integer, text

_MAINS = ("Mains", "USB", "USB_C", "USB_PD", "Wireless")


@dataclass(frozen=True)
class Power:
    """The power source. `charge`: that of the battery from 0 to 1, None without a battery or if unknown."""

    source: Literal["mains", "battery"]
    charge: float | None = None
    status: str | None = None  # of the battery, as the system reports it: "Charging", "discharging", …


@dataclass(frozen=True)
class PowerLimit:
    """The power that a part of the processor may draw, averaged over `seconds`."""

    domain: str  # "package-0 long_term"
    watts: float
    seconds: float | None = None


def read_power(root: Path, reasons: dict[str, str]) -> Power | None:
    """Return the power source, or None, with a reason under "power", if the system does not report it."""
    supplies = [
        one for one in entries(root / "sys/class/power_supply", "*") if text(one / "scope") != "Device"
    ]
    kinds = {one: text(one / "type") for one in supplies}
    batteries = [one for one, kind in kinds.items() if kind == "Battery" and integer(one / "present") != 0]
    online = [integer(one / "online") for one, kind in kinds.items() if kind in _MAINS]
    charge, status = (_charge(batteries[0]), text(batteries[0] / "status")) if batteries else (None, None)
    if any(state and state > 0 for state in online):
        return Power("mains", charge, status)
    if batteries and status:
        # Some laptops do not list their charger. A battery that is not discharging is on mains.
        return Power("battery" if status == "Discharging" else "mains", charge, status)
    reasons["power"] = (
        "the listed power supplies do not state it" if supplies
        else "no power supply is listed (as on most servers, desktops, boards and virtual machines)"
    )  # fmt: skip
    return None


def parse_pmset(output: str, reasons: dict[str, str]) -> Power | None:
    """Parse the output of `pmset -g batt`."""
    source = re.search(r"drawing from '(AC|Battery|UPS) Power'", output)
    if source is None:
        reasons["power"] = "pmset does not state it"
        return None
    battery = re.search(r"\t\s*([0-9]{1,3})%; ([a-z AC]+);", output)
    return Power(
        "mains" if source[1] == "AC" else "battery",
        min(int(battery[1]), 100) / 100 if battery else None,
        battery[2].strip() if battery else None,
    )


def read_limits(root: Path, reasons: dict[str, str]) -> tuple[PowerLimit, ...] | None:
    """Return the RAPL constraints, or None, with a reason under "power_limits", if none can be read."""
    limits = []
    for domain in entries(root / "sys/class/powercap", "*rapl:*"):
        name = text(domain / "name") or domain.name
        for limit in entries(domain, "constraint_[0-9]*_power_limit_uw"):
            kind = limit.name.removesuffix("_power_limit_uw")
            watts, window = integer(limit), integer(domain / f"{kind}_time_window_us")
            if watts and watts > 0:
                label = text(domain / f"{kind}_name") or kind
                limits.append(
                    PowerLimit(
                        f"{name} {label}", watts / 1e6, window / 1e6 if window and window > 0 else None
                    )
                )
    if limits:
        return tuple(limits)
    reasons["power_limits"] = "no RAPL constraint can be read (virtual machine, ARM, or no permission)"
    return None


def _charge(battery: Path) -> float | None:
    percent = integer(battery / "capacity")
    return percent / 100 if percent is not None and 0 <= percent <= 100 else None
