"""What lies around the processor of a Mac, by the system's own tools. Not tried on a Mac yet."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

from edgehone.device.accelerators import Accelerator
from edgehone.device.cores import darwin_cores
from edgehone.device.darwin import parse_sysctl
from edgehone.device.inventory_facts import (
    Inventory,
)
from edgehone.device.network import Network, parse_route_get
from edgehone.device.power import parse_pmset
from edgehone.device.storage import read_storage

_PATIENCE_SECONDS = 5


def darwin(folder: Path) -> Inventory:
    """This Mac's. Never raises."""
    reasons = {
        "power_limits": "macOS does not tell",
        "thermal": "macOS tells it to nobody but root (powermetrics)",
        "limits": "macOS has no control groups",
        "network.metered": "macOS does not tell",
    }
    displays = parse_displays(_said("/usr/sbin/system_profiler", "-json", "SPDisplaysDataType"))
    if displays is None:
        reasons["accelerators"] = "system_profiler does not tell"
    return Inventory(
        cores=darwin_cores(parse_sysctl(_said("/usr/sbin/sysctl", "hw")), reasons),
        accelerators=displays,
        power=parse_pmset(_said("/usr/bin/pmset", "-g", "batt"), reasons),
        storage=read_storage(folder, Path("/"), reasons),
        network=Network(parse_route_get(_said("/sbin/route", "-n", "get", "default")) is not None, None),
        reasons=reasons,
        drivers=(platform.release(),),
    )


def parse_displays(said: str) -> tuple[Accelerator, ...] | None:
    """The GPUs in what `system_profiler -json SPDisplaysDataType` prints; None where that is something else.

    Apple silicon has a Neural Engine beside each GPU, which no list shows.
    """
    try:
        listed = json.loads(said)["SPDisplaysDataType"]
        found = [_gpu(one) for one in listed if isinstance(one, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    engines = [Accelerator("npu", "Apple", "Neural Engine", "soc") for one in found if one.vendor == "Apple"][
        :1
    ]
    return (*found, *engines)


def _gpu(told: dict[str, Any]) -> Accelerator:
    name = str(told.get("sppci_model") or told.get("_name") or "")
    vendors = ("Apple", "AMD", "Intel", "NVIDIA")
    vendor = next(
        (one for one in vendors if one.lower() in f"{told.get('spdisplays_vendor')} {name}".lower()), None
    )
    metal = "spdisplays_mtlgpufamilysupport" in told or "spdisplays_metal" in told
    short = name.removeprefix(f"{vendor} ") or None
    return Accelerator("gpu", vendor, short, str(told.get("sppci_bus", "soc")), "Metal" if metal else None)


def _said(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
