"""What lies around the processor: kinds of cores, accelerators, power, heat, storage, network.

These may be other tomorrow (a charger pulled out, a disk filled up), or say nothing of the speed by themselves, so they
are apart from `Device`, whose fingerprint names the machine that a figure was read on.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgehone.device import cgroup, power
from edgehone.device.accelerators import Accelerator, drivers, read_accelerators
from edgehone.device.cgroup import Limits
from edgehone.device.cores import CoreKind, read_cores
from edgehone.device.network import Network, read_network
from edgehone.device.power import Power, PowerLimit, read_power
from edgehone.device.storage import Storage, read_storage
from edgehone.device.thermal import Zone, read_zones


@dataclass(frozen=True)
class Surroundings:
    """What is None has its reason in `reasons` under the field's name."""

    cores: tuple[CoreKind, ...] | None = None
    accelerators: tuple[Accelerator, ...] | None = None
    power: Power | None = None
    power_limits: tuple[PowerLimit, ...] | None = None
    thermal: tuple[Zone, ...] | None = None
    storage: Storage | None = None
    network: Network | None = None
    limits: Limits | None = None  # of the control groups
    reasons: Mapping[str, str] = field(default_factory=dict)
    drivers: tuple[str, ...] = ()  # versions and places that decide what a runtime finds

    @property
    def hardware(self) -> str:
        """12 hexadecimal digits over what decides which devices a runtime finds: accelerators and their drivers."""
        parts = [[asdict(one) for one in self.accelerators or ()], list(self.drivers)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {**asdict(self), "hardware": self.hardware}


def look_around(folder: Path) -> Surroundings:
    """This machine's; `folder` is where edgehone keeps what it makes. Never raises; contacts no host."""
    if sys.platform.startswith("linux"):
        return linux(Path("/"), folder)
    if sys.platform == "darwin":
        from edgehone.device.darwin_surroundings import darwin

        return darwin(folder)
    names = ("cores", "accelerators", "power", "power_limits", "thermal", "network", "limits")
    reasons = dict.fromkeys(names, f"how {sys.platform} tells it is not known")
    return Surroundings(storage=read_storage(folder, Path("/"), reasons), reasons=reasons)


def linux(root: Path, folder: Path) -> Surroundings:
    """Of a Linux machine whose proc, sys, dev, etc and run lie under `root`."""
    reasons: dict[str, str] = {}
    zones = read_zones(root / "sys")
    if not zones:
        reasons["thermal"] = "no thermal zone is listed (virtual machines have none)"
    return Surroundings(
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
