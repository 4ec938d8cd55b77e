"""The target: the device that a model must run on, as far as plans and predictions care."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgehone.core.figure import Figure
from edgehone.device.catalogue import CatalogueDevice
from edgehone.plan import roofline_data
from edgehone.plan.matrix import Matrix


@dataclass(frozen=True)
class Target:
    """The device that the model must run on; `name` is that of the catalogue, or "this machine".

    `bandwidth` (GB/s) and `compute` (float32 GFLOP/s of all threads) are what programs reach, measured or a share of
    the papers' peak; their intervals are the error of that. `gain` is by how much narrow integers are multiplied
    faster than floats. `slower` is by how much a runtime's calls take longer than on the machine that measured them.
    """

    name: str
    row: str
    simd: tuple[str, ...]
    threads: int
    memory_bytes: int | None
    bandwidth: Figure
    compute: Figure
    gpu: Figure  # float32 GFLOP/s of a GPU that shares the memory
    clock_ghz: float | None = None
    last_cache: int | None = None
    size_budget_bytes: int | None = None
    accelerators: tuple[str, ...] = ()
    lacks: Mapping[str, str] | None = None  # of the catalogue's: backends that it cannot run, and why
    slower: float = 1.0
    slower_error: float = 1.0

    @classmethod
    def of(cls, device: CatalogueDevice) -> Target:
        """A device of the catalogue: shares of its papers' peaks."""
        return cls(
            device.name,
            device.row,
            device.simd,
            device.threads,
            device.memory_bytes,
            _read(device),
            _attained(device.gflops, "compute", "GFLOP/s", device.unknown.get("compute")),
            _attained(device.gpu_gflops, "compute", "GFLOP/s", device.unknown.get("gpu")),
            device.clock_ghz,
            device.last_cache_bytes,
            device.size_budget_bytes,
            device.accelerators,
            device.cannot,
        )

    def cannot(self, matrix: Matrix) -> dict[str, str]:
        """The backends that a device of the catalogue cannot run, and why; here whatever runs is proven."""
        return {} if self.lacks is None else {**matrix.out(self.row), **self.lacks}

    @property
    def gain(self) -> float:
        """By how much 8-bit integers are multiplied faster than float32: of what the processor has, the most."""
        gains = roofline_data.table()["gain"]
        return max((float(gains[name]) for name in self.simd if name in gains), default=1.0)

    def seen_from(self, here: Target) -> Target:
        """This target with its calls' slowness against the machine that measured them.

        Between what the clocks tell and what the float rates of a core tell: the middle of both, and as error what
        lies between, since a call is neither all arithmetic nor none.
        """
        told = []
        if here.clock_ghz and self.clock_ghz:
            told.append(here.clock_ghz / self.clock_ghz)
        if here.compute.value and self.compute.value:
            told.append(here.compute.value / here.threads / (self.compute.value / self.threads))
        least = float(roofline_data.table()["error"]["device"])
        if not told:
            return replace(self, slower=1.0, slower_error=least**2)
        return replace(
            self,
            slower=math.exp(sum(map(math.log, told)) / len(told)),
            slower_error=max(least, math.sqrt(max(told) / min(told))),
        )

    def run_by(self, backend: str) -> Target:
        """This target as the backend computes on it: with the GPU's rate where it is the GPU that it runs on."""
        on_gpu = backend in roofline_data.table()["gpu_backends"] or self.compute.value is None
        if not on_gpu or self.gpu.value is None:
            return self
        # A GPU of these multiplies the floats that quantized weights are unpacked to.
        return replace(self, compute=self.gpu, simd=())

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        figures = {name: getattr(self, name).to_json() for name in ("bandwidth", "compute", "gpu")}
        plain = {**asdict(self), **figures}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}


def _read(device: CatalogueDevice) -> Figure:
    if device.measured_gb_s is not None:
        return Figure.prediction(
            device.measured_gb_s, roofline_data.table()["peak"]["measured_error"], "GB/s"
        )
    return _attained(device.bandwidth_gb_s, "read", "GB/s", device.unknown.get("bandwidth"))


def _attained(peak: float | None, kind: str, unit: str, reason: str | None) -> Figure:
    if peak is None:
        return Figure.missing(reason or "the catalogue does not say", unit)
    shares = roofline_data.table()["peak"]
    return Figure.prediction(peak * shares[kind], shares[f"{kind}_error"], unit)
