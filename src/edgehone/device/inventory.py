"""Read the inventory of this machine: kinds of cores, accelerators, power, temperature, storage and network.

These can change (an unplugged charger, a full disk) or do not determine speed by themselves. They are therefore not
part of `Device`, whose fingerprint identifies the machine of a measurement.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgehone.device import cgroup, power
from edgehone.device.accelerators import drivers, read_accelerators
from edgehone.device.cores import read_cores
from edgehone.device.inventory_facts import Inventory
from edgehone.device.network import read_network
from edgehone.device.power import read_power
from edgehone.device.storage import read_storage
from edgehone.device.thermal import read_zones


def read_inventory(folder: Path) -> Inventory:
    """Return the inventory of this machine. Never raises; contacts no host. `folder`: where to report free space."""
    if sys.platform.startswith("linux"):
        return read_linux(Path("/"), folder)
    if sys.platform == "darwin":
        from edgehone.device.darwin_inventory import read_darwin

        return read_darwin(folder)
    names = ("cores", "accelerators", "power", "power_limits", "thermal", "network", "limits")
    reasons = dict.fromkeys(names, f"reading it is not supported on {sys.platform}")
    return Inventory(storage=read_storage(folder, Path("/"), reasons), reasons=reasons)


def read_linux(root: Path, folder: Path) -> Inventory:
    """Return the inventory of the Linux machine whose proc, sys, dev, etc and run are under `root`."""
    reasons: dict[str, str] = {}
    zones = read_zones(root / "sys")
    if not zones:
        reasons["thermal"] = "no thermal zone is listed (virtual machines have none)"
    return Inventory(
        cores=read_cores(root, reasons),
        accelerators=read_accelerators(root, reasons),
        power=read_power(root, reasons),
        power_limits=power.read_limits(root, reasons),
        thermal=zones or None,
        storage=read_storage(folder, root, reasons),
        network=read_network(root, reasons),
        limits=cgroup.read_limits(root),
        reasons=reasons,
        drivers=tuple(drivers(root)),
    )
