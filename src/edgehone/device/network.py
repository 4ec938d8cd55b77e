"""Whether the machine is connected, and whether that costs: from what the system knows, no host is ever contacted.

Sources: the kernel's ABI document sysfs-class-net and proc(5) for net/route; NetworkManager's own guess of "metered".
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

# Flags of routes (linux/route.h, linux/ipv6_route.h): up, and 'unreachable'.
_UP, _REJECT = 0x1, 0x200
# ARPHRD_ETHER and ARPHRD_LOOPBACK of linux/if_arp.h.
_ETHERNET, _LOOPBACK = 1, 772
_PATIENCE_SECONDS = 1


@dataclass(frozen=True)
class Interface:
    """`mbit` is the link's speed, None where it does not tell (wireless never does)."""

    name: str
    kind: InterfaceKind
    up: bool | None
    mbit: int | None = None


@dataclass(frozen=True)
class Network:
    """`online` is whether a default route leads over an interface that is up; `metered` what NetworkManager says."""

    online: bool | None
    metered: bool | None
    interfaces: tuple[Interface, ...] = ()


def read_network(root: Path, reasons: dict[str, str]) -> Network:
    """What there is; reasons are under "network.online" and "network.metered"."""
    folders = entries(root / "sys/class/net", "*")
    interfaces = tuple(_interface(one) for one in folders if integer(one / "type") != _LOOPBACK)
    routes = [text(root / "proc/net" / name) for name in ("route", "ipv6_route")]
    if routes == [None, None]:
        reasons["network.online"] = "the system shows no routes"
        online = None
    else:
        leading = {*parse_routes(routes[0] or ""), *parse_routes6(routes[1] or "")}
        online = any(one.name in leading and one.up is not False for one in interfaces)
    metered = _metered(root, reasons) if online else None
    if not online:
        reasons.setdefault("network.metered", "no connection")
    return Network(online, metered, interfaces)


def parse_routes(said: str) -> list[str]:
    """The interfaces of the default routes in the text of /proc/net/route."""
    return [
        words[0]
        for words in map(str.split, said.splitlines()[1:])
        if len(words) >= 8 and words[1] == words[7] == "00000000" and _leads(words[3])
    ]


def parse_routes6(said: str) -> list[str]:
    """The same of /proc/net/ipv6_route."""
    return [
        words[9]
        for words in map(str.split, said.splitlines())
        if len(words) == 10 and words[0] == "0" * 32 and words[1] == "00" and _leads(words[8])
    ]


def parse_metered(said: str) -> bool | None:
    """What `nmcli -g GENERAL.METERED device show` prints, a line a device: metered if any that tells is."""
    told = [word for line in said.splitlines() if (word := line.strip().partition(" ")[0]) in ("yes", "no")]
    return "yes" in told if told else None


def parse_route_get(said: str) -> str | None:
    """The interface in what macOS' `route -n get default` prints."""
    found = re.search(r"^\s*interface: (\S+)$", said, re.MULTILINE)
    return found[1] if found else None


def _leads(flags: str) -> bool:
    number = int(flags, 16) if re.fullmatch(r"[0-9A-Fa-f]{1,8}", flags) else 0
    return bool(number & _UP) and not number & _REJECT


def _interface(folder: Path) -> Interface:
    told = text(folder / "uevent") or ""
    state, speed = text(folder / "operstate"), integer(folder / "speed")
    kind: InterfaceKind = "other"
    if (folder / "wireless").exists() or (folder / "phy80211").exists():
        kind = "wireless"
    elif "DEVTYPE=wwan" in told:
        kind = "cellular"
    elif integer(folder / "type") == _ETHERNET and (folder / "device").exists():
        kind = "wired"
    up = {"up": True, "down": False, "lowerlayerdown": False, "notpresent": False}.get(state or "")
    return Interface(folder.name, kind, up, speed if speed and speed > 0 else None)


def _metered(root: Path, reasons: dict[str, str]) -> bool | None:
    tool = shutil.which("nmcli") if (root / "run/NetworkManager").is_dir() else None
    if tool is None:
        reasons["network.metered"] = "NetworkManager, which knows it, does not run here"
        return None
    command = [tool, "-g", "GENERAL.METERED", "device", "show"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        reasons["network.metered"] = f"nmcli: {error}"
        return None
    metered = parse_metered(done.stdout)
    if metered is None:
        reasons["network.metered"] = "NetworkManager does not know"
    return metered
