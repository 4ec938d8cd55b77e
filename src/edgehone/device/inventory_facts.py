"""Inventory: the properties of a machine besides its processor and memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgehone.device.accelerators import Accelerator
from edgehone.device.cgroup import Limits
from edgehone.device.cores import CoreKind
from edgehone.device.network import Network
from edgehone.device.power import Power, PowerLimit
from edgehone.device.storage import Storage
from edgehone.device.thermal import Zone


@dataclass(frozen=True)
class Inventory:
    """The inventory of a machine. Unknown values are None; `reasons` has the reason under the field's name."""

    cores: tuple[CoreKind, ...] | None = None
    accelerators: tuple[Accelerator, ...] | None = None
    power: Power | None = None
    power_limits: tuple[PowerLimit, ...] | None = None
    thermal: tuple[Zone, ...] | None = None
    storage: Storage | None = None
    network: Network | None = None
    limits: Limits | None = None  # of the control groups
    reasons: Mapping[str, str] = field(default_factory=dict)
    drivers: tuple[str, ...] = ()  # driver versions and files that decide which accelerators a runtime finds

    @property
    def hardware(self) -> str:
        """12 hexadecimal digits that identify the accelerators and their drivers."""
        parts = [[asdict(one) for one in self.accelerators or ()], list(self.drivers)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return {**asdict(self), "hardware": self.hardware}
