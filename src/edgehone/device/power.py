"""Where the power comes from, and what the processor may draw of it.

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
    """`charge` is that of the battery, a share; None where there is none or it does not tell."""

    source: Literal["mains", "battery"]
    charge: float | None = None
    status: str | None = None  # of the battery, in the system's words: "Charging", "discharging", …


@dataclass(frozen=True)
class PowerLimit:
    """What a part of the processor may draw, averaged over `seconds`."""

    domain: str  # "package-0 long_term"
    watts: float
    seconds: float | None = None


def read_power(root: Path, reasons: dict[str, str]) -> Power | None:
    """The source; None, with the reason under "power", where the system lists no supply of the machine."""
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
        # Some laptops do not list their charger: a battery that does not discharge is fed by one.
        return Power("battery" if status == "Discharging" else "mains", charge, status)
    reasons["power"] = (
        "the supplies that are listed do not tell" if supplies
        else "no power supply is listed: most servers, desktops, boards and virtual machines list none"
    )  # fmt: skip
    return None


def parse_pmset(said: str, reasons: dict[str, str]) -> Power | None:
    """What `pmset -g batt` says."""
    source = re.search(r"drawing from '(AC|Battery|UPS) Power'", said)
    if source is None:
        reasons["power"] = "pmset does not tell"
        return None
    battery = re.search(r"\t\s*([0-9]{1,3})%; ([a-z AC]+);", said)
    return Power(
        "mains" if source[1] == "AC" else "battery",
        min(int(battery[1]), 100) / 100 if battery else None,
        battery[2].strip() if battery else None,
    )


def read_limits(root: Path, reasons: dict[str, str]) -> tuple[PowerLimit, ...] | None:
    """RAPL's constraints; None, with the reason under "power_limits", where none can be read."""
    found = []
    for domain in entries(root / "sys/class/powercap", "*rapl:*"):
        name = text(domain / "name") or domain.name
        for limit in entries(domain, "constraint_[0-9]*_power_limit_uw"):
            kind = limit.name.removesuffix("_power_limit_uw")
            watts, window = integer(limit), integer(domain / f"{kind}_time_window_us")
            if watts and watts > 0:
                label = text(domain / f"{kind}_name") or kind
                found.append(
                    PowerLimit(
                        f"{name} {label}", watts / 1e6, window / 1e6 if window and window > 0 else None
                    )
                )
    if found:
        return tuple(found)
    reasons["power_limits"] = "no RAPL constraint can be read (virtual machine, ARM, or not allowed)"
    return None


def _charge(battery: Path) -> float | None:
    percent = integer(battery / "capacity")
    return percent / 100 if percent is not None and 0 <= percent <= 100 else None
