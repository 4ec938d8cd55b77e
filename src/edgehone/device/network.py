"""Detect whether the machine is online and whether the connection is metered, without contacting any host.

Sources: the kernel's ABI document sysfs-class-net and proc(5) for net/route; NetworkManager's property "metered".
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgehone.device.sysfs import entries, integer, text

InterfaceKind = Literal["wired", "wireless", "cellular", "other"]

# Flags of routes (linux/route.h, linux/ipv6_route.h).
_UP, _REJECT = 0x1, 0x200
# ARPHRD_ETHER and ARPHRD_LOOPBACK of linux/if_arp.h.
_ETHERNET, _LOOPBACK = 1, 772
_TIMEOUT_SECONDS = 1


@dataclass(frozen=True)
class Interface:
    """A network interface. `mbit`: link speed, None if unknown, as for all wireless interfaces."""

    name: str
    kind: InterfaceKind
    up: bool | None
    mbit: int | None = None


@dataclass(frozen=True)
class Network:
    """`online`: a default route uses an interface that is up. `metered`: as reported by NetworkManager."""

    online: bool | None
    metered: bool | None
    interfaces: tuple[Interface, ...] = ()


def read_network(root: Path, reasons: dict[str, str]) -> Network:
    """Return the state of the network. Reasons are under "network.online" and "network.metered"."""
    folders = entries(root / "sys/class/net", "*")
    interfaces = tuple(_interface(one) for one in folders if integer(one / "type") != _LOOPBACK)
    routes = [text(root / "proc/net" / name) for name in ("route", "ipv6_route")]
    if routes == [None, None]:
        reasons["network.online"] = "the system lists no routes"
        online = None
    else:
        routed = {*parse_routes(routes[0] or ""), *parse_routes6(routes[1] or "")}
        online = any(one.name in routed and one.up is not False for one in interfaces)
    metered = _metered(root, reasons) if online else None
    if not online:
        reasons.setdefault("network.metered", "no connection")
    return Network(online, metered, interfaces)


def parse_routes(output: str) -> list[str]:
    """Return the interfaces of the default routes in the text of /proc/net/route."""
    return [
        words[0]
        for words in map(str.split, output.splitlines()[1:])
        if len(words) >= 8 and words[1] == words[7] == "00000000" and _is_usable(words[3])
    ]


def parse_routes6(output: str) -> list[str]:
    """Return the interfaces of the default routes in the text of /proc/net/ipv6_route."""
    return [
        words[9]
        for words in map(str.split, output.splitlines())
        if len(words) == 10 and words[0] == "0" * 32 and words[1] == "00" and _is_usable(words[8])
    ]


def parse_metered(output: str) -> bool | None:
    """Parse `nmcli -g GENERAL.METERED device show`: True if any device is metered, None if none states it."""
    answers = [
        word for line in output.splitlines() if (word := line.strip().partition(" ")[0]) in ("yes", "no")
    ]
    return "yes" in answers if answers else None


def parse_route_get(output: str) -> str | None:
    """Return the interface in the output of `route -n get default` on macOS."""
    match = re.search(r"^\s*interface: (\S+)$", output, re.MULTILINE)
    return match[1] if match else None


def _is_usable(flags: str) -> bool:
    number = int(flags, 16) if re.fullmatch(r"[0-9A-Fa-f]{1,8}", flags) else 0
    return bool(number & _UP) and not number & _REJECT


def _interface(folder: Path) -> Interface:
    uevent = text(folder / "uevent") or ""
    state, speed = text(folder / "operstate"), integer(folder / "speed")
    kind: InterfaceKind = "other"
    if (folder / "wireless").exists() or (folder / "phy80211").exists():
        kind = "wireless"
    elif "DEVTYPE=wwan" in uevent:
        kind = "cellular"
    elif integer(folder / "type") == _ETHERNET and (folder / "device").exists():
        kind = "wired"
    up = {"up": True, "down": False, "lowerlayerdown": False, "notpresent": False}.get(state or "")
    return Interface(folder.name, kind, up, speed if speed and speed > 0 else None)


def _metered(root: Path, reasons: dict[str, str]) -> bool | None:
    tool = shutil.which("nmcli") if (root / "run/NetworkManager").is_dir() else None
    if tool is None:
        reasons["network.metered"] = "NetworkManager, which would report it, is not running"
        return None
    command = [tool, "-g", "GENERAL.METERED", "device", "show"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        reasons["network.metered"] = f"nmcli: {error}"
        return None
    metered = parse_metered(done.stdout)
    if metered is None:
        reasons["network.metered"] = "NetworkManager does not report it"
    return metered
