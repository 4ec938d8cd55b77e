"""The target: the device that a model must run on, as far as plans and predictions care."""

from __future__ import annotations

from dataclasses import dataclass

from edgehone.device.catalogue import CatalogueDevice
from edgehone.figure import Figure


@dataclass(frozen=True)
class Target:
    """The device that the model must run on; `name` is that of the catalogue, or "this machine"."""

    name: str
    row: str
    simd: tuple[str, ...]
    threads: int
    memory_bytes: int | None
    bandwidth: Figure  # GB/s
    last_cache: int | None = None
    size_budget_bytes: int | None = None
    accelerators: tuple[str, ...] = ()

    @classmethod
    def of(cls, device: CatalogueDevice) -> Target:
        """A device of the catalogue; its bandwidth is the papers' peak."""
        peak = device.bandwidth_gb_s
        bandwidth = (
            Figure.missing(device.unknown["bandwidth"], "GB/s") if peak is None else Figure(peak, unit="GB/s")
        )
        return cls(
            device.name,
            device.row,
            device.simd,
            device.threads,
            device.memory_bytes,
            bandwidth,
            None,
            device.size_budget_bytes,
            device.accelerators,
        )
