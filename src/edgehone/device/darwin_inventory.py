"""Read the inventory of a Mac with the tools of macOS. Not yet tested on a Mac."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

from edgehone.device.accelerators import Accelerator
from edgehone.device.cores import darwin_cores
from edgehone.device.darwin import parse_sysctl
from edgehone.device.inventory_facts import Inventory
from edgehone.device.network import Network, parse_route_get
from edgehone.device.power import parse_pmset
from edgehone.device.storage import read_storage

_TIMEOUT_SECONDS = 5


def read_darwin(folder: Path) -> Inventory:
    """Return the inventory of this Mac. Never raises. `folder`: where to report free space."""
    reasons = {
        "power_limits": "macOS does not report them",
        "thermal": "macOS reports it only to root (powermetrics)",
        "limits": "macOS has no control groups",
        "network.metered": "macOS does not report it",
    }
    displays = parse_displays(_run("/usr/sbin/system_profiler", "-json", "SPDisplaysDataType"))
    if displays is None:
        reasons["accelerators"] = "system_profiler does not list them"
    return Inventory(
        cores=darwin_cores(parse_sysctl(_run("/usr/sbin/sysctl", "hw")), reasons),
        accelerators=displays,
        power=parse_pmset(_run("/usr/bin/pmset", "-g", "batt"), reasons),
        storage=read_storage(folder, Path("/"), reasons),
        network=Network(parse_route_get(_run("/sbin/route", "-n", "get", "default")) is not None, None),
        reasons=reasons,
        drivers=(platform.release(),),
    )


def parse_displays(output: str) -> tuple[Accelerator, ...] | None:
    """Return the GPUs in the output of `system_profiler -json SPDisplaysDataType`, or None if it is invalid.

    Apple silicon also has a Neural Engine, which is not listed and is therefore added.
    """
    try:
        listed = json.loads(output)["SPDisplaysDataType"]
        gpus = [_gpu(one) for one in listed if isinstance(one, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if any(gpu.vendor == "Apple" for gpu in gpus):
        gpus.append(Accelerator("npu", "Apple", "Neural Engine", "soc"))
    return tuple(gpus)


def _gpu(display: dict[str, Any]) -> Accelerator:
    name = str(display.get("sppci_model") or display.get("_name") or "")
    vendors = ("Apple", "AMD", "Intel", "NVIDIA")
    vendor = next(
        (one for one in vendors if one.lower() in f"{display.get('spdisplays_vendor')} {name}".lower()), None
    )
    metal = "spdisplays_mtlgpufamilysupport" in display or "spdisplays_metal" in display
    short = name.removeprefix(f"{vendor} ") or None
    return Accelerator("gpu", vendor, short, str(display.get("sppci_bus", "soc")), "Metal" if metal else None)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
