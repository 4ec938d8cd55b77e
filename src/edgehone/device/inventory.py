"""What lies around the processor: kinds of cores, accelerators, power, heat, storage, network.

These may be other tomorrow (a charger pulled out, a disk filled up), or say nothing of the speed by themselves, so they
are apart from `Device`, whose fingerprint names the machine that a figure was read on.
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
    """This machine's; `folder` is where edgehone keeps what it makes. Never raises; contacts no host."""
    if sys.platform.startswith("linux"):
        return linux(Path("/"), folder)
    if sys.platform == "darwin":
        from edgehone.device.darwin_inventory import darwin

        return darwin(folder)
    names = ("cores", "accelerators", "power", "power_limits", "thermal", "network", "limits")
    reasons = dict.fromkeys(names, f"how {sys.platform} tells it is not known")
    return Inventory(storage=read_storage(folder, Path("/"), reasons), reasons=reasons)


def linux(root: Path, folder: Path) -> Inventory:
    """Of a Linux machine whose proc, sys, dev, etc and run lie under `root`."""
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
