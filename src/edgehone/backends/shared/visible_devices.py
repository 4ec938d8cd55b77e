"""What a runtime sees of a machine: the devices that it can run on, and why it cannot run on others.

A backend's optional `devices(job)` returns `VisibleDevices.to_json()` (worker side); the core reads it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from edgehone.backends.base import Recipe

DeviceKind = Literal["cpu", "gpu", "npu"]


@dataclass(frozen=True)
class RuntimeDevice:
    """A device by the name that the runtime opens it by ("GPU.0", "CUDA"); `facts` are worth knowing of it."""

    id: str
    kind: DeviceKind
    name: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AbsentDevice:
    """A device that this build does not see, though the runtime could run on its kind; `vendor` None is anybody's."""

    id: str
    kind: DeviceKind
    vendor: str | None
    reason: str


@dataclass(frozen=True)
class VisibleDevices:
    """Both; `reason` tells why neither is known."""

    devices: tuple[RuntimeDevice, ...] = ()
    absent: tuple[AbsentDevice, ...] = ()
    reason: str | None = None

    @property
    def accelerators(self) -> tuple[RuntimeDevice, ...]:
        """All devices but the processor."""
        return tuple(one for one in self.devices if one.kind != "cpu")

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {
            "devices": [{**asdict(one), "facts": dict(one.facts)} for one in self.devices],
            "absent": [asdict(one) for one in self.absent],
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> VisibleDevices:
        """What `to_json` wrote. Raises TypeError or KeyError for anything else."""
        return cls(
            tuple(RuntimeDevice(**one) for one in told["devices"]),
            tuple(AbsentDevice(**one) for one in told["absent"]),
            told.get("reason"),
        )


def on_device(recipe: Recipe, device: RuntimeDevice, how: str) -> Recipe:
    """The recipe run on a device that was seen, which its name and its settings tell; `how` is added to its reason."""
    return replace(
        recipe,
        name=f"{recipe.name}@{device.id}",
        settings={**recipe.settings, "device": device.id},
        why=f"{recipe.why}; {how}",
    )
