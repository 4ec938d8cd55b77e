"""Device visibility: the devices that a runtime can use on a machine, and why it cannot use others.

A backend's `devices(job)` returns `VisibleDevices.to_json()` (worker side); the core reads it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from edgehone.backends.base import Recipe

DeviceKind = Literal["cpu", "gpu", "npu"]


@dataclass(frozen=True)
class RuntimeDevice:
    """A visible device. `id` is the runtime's name for it ("GPU.0", "CUDA0"); `facts` are its properties."""

    id: str
    kind: DeviceKind
    name: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AbsentDevice:
    """A kind of device that the runtime supports but cannot use here. `vendor` is None for hardware of any vendor."""

    id: str
    kind: DeviceKind
    vendor: str | None
    reason: str


@dataclass(frozen=True)
class VisibleDevices:
    """The visible and the absent devices of a runtime; or neither, and the `reason` why they are unknown."""

    devices: tuple[RuntimeDevice, ...] = ()
    absent: tuple[AbsentDevice, ...] = ()
    reason: str | None = None

    @property
    def accelerators(self) -> tuple[RuntimeDevice, ...]:
        """All visible devices except CPUs."""
        return tuple(one for one in self.devices if one.kind != "cpu")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "devices": [{**asdict(one), "facts": dict(one.facts)} for one in self.devices],
            "absent": [asdict(one) for one in self.absent],
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> VisibleDevices:
        """Read what `to_json` wrote. Raises TypeError or KeyError for anything else."""
        return cls(
            tuple(RuntimeDevice(**one) for one in data["devices"]),
            tuple(AbsentDevice(**one) for one in data["absent"]),
            data.get("reason"),
        )


def on_device(recipe: Recipe, device: RuntimeDevice, how: str) -> Recipe:
    """Return the recipe on a visible device, with the device in its name and settings. `how` is appended to `why`."""
    return replace(
        recipe,
        name=f"{recipe.name}@{device.id}",
        settings={**recipe.settings, "device": device.id},
        why=f"{recipe.why}; {how}",
    )
