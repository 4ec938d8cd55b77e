"""The device that plans and predictions are made for."""

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
class PredictionTarget:
    """The device that predictions are made for. `name` is its name in the catalogue, or "this machine".

    `bandwidth` (GB/s) and `compute` (float32 GFLOP/s of all threads) are attainable rates: measured, or a share of the
    peak in the device's data sheet. Their intervals are the error of that estimate. `slower` is the factor by which
    runtime calls take longer than on the machine that measured them, `slower_error` its error as a factor. `lacks`
    maps backends that a catalogue device cannot run to the reason; it is None for this machine.
    """

    name: str
    row: str
    simd: tuple[str, ...]
    threads: int
    memory_bytes: int | None
    bandwidth: Figure
    compute: Figure
    gpu: Figure  # float32 GFLOP/s of a GPU that shares the main memory
    clock_ghz: float | None = None
    last_cache: int | None = None
    size_budget_bytes: int | None = None
    accelerators: tuple[str, ...] = ()
    lacks: Mapping[str, str] | None = None
    slower: float = 1.0
    slower_error: float = 1.0

    @classmethod
    def from_catalogue(cls, device: CatalogueDevice) -> PredictionTarget:
        """Return the target for a device of the catalogue. Rates are shares of its data-sheet peaks."""
        return cls(
            device.name,
            device.row,
            device.simd,
            device.threads,
            device.memory_bytes,
            _bandwidth(device),
            _attainable(device.gflops, "compute", "GFLOP/s", device.unknown.get("compute")),
            _attainable(device.gpu_gflops, "compute", "GFLOP/s", device.unknown.get("gpu")),
            device.clock_ghz,
            device.last_cache_bytes,
            device.size_budget_bytes,
            device.accelerators,
            device.cannot,
        )

    def unsupported_backends(self, matrix: Matrix) -> dict[str, str]:
        """Return the backends that the device cannot run, with reasons. Empty for this machine, which tries them."""
        return {} if self.lacks is None else {**matrix.unsupported(self.row), **self.lacks}

    @property
    def int8_gain(self) -> float:
        """Speedup of 8-bit integer over float32 multiplication, by the best instruction set that is available."""
        gains = roofline_data.table()["gain"]
        return max((float(gains[name]) for name in self.simd if name in gains), default=1.0)

    def relative_to(self, here: PredictionTarget) -> PredictionTarget:
        """Return this target with the slowdown of runtime calls relative to `here`, the machine that measured them.

        The slowdown is the geometric mean of the ratio of clock rates and the ratio of float rates per core. The
        error is the square root of their quotient, because calls are only partly arithmetic.
        """
        ratios = []
        if here.clock_ghz and self.clock_ghz:
            ratios.append(here.clock_ghz / self.clock_ghz)
        if here.compute.value and self.compute.value:
            ratios.append(here.compute.value / here.threads / (self.compute.value / self.threads))
        least = float(roofline_data.table()["error"]["device"])
        if not ratios:
            return replace(self, slower=1.0, slower_error=least**2)
        return replace(
            self,
            slower=math.exp(sum(map(math.log, ratios)) / len(ratios)),
            slower_error=max(least, math.sqrt(max(ratios) / min(ratios))),
        )

    def for_backend(self, backend: str) -> PredictionTarget:
        """Return this target with the compute rate that the backend uses: the GPU's if the backend runs on the GPU."""
        on_gpu = backend in roofline_data.table()["gpu_backends"] or self.compute.value is None
        if not on_gpu or self.gpu.value is None:
            return self
        # These GPUs unpack quantized weights and multiply floats, so SIMD gains do not apply.
        return replace(self, compute=self.gpu, simd=())

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        figures = {name: getattr(self, name).to_json() for name in ("bandwidth", "compute", "gpu")}
        plain = {**asdict(self), **figures}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}


def _bandwidth(device: CatalogueDevice) -> Figure:
    if device.measured_gb_s is not None:
        return Figure.prediction(
            device.measured_gb_s, roofline_data.table()["peak"]["measured_error"], "GB/s"
        )
    return _attainable(device.bandwidth_gb_s, "read", "GB/s", device.unknown.get("bandwidth"))


def _attainable(peak: float | None, share: str, unit: str, reason: str | None) -> Figure:
    if peak is None:
        return Figure.missing(reason or "not stated in the catalogue", unit)
    shares = roofline_data.table()["peak"]
    return Figure.prediction(peak * shares[share], shares[f"{share}_error"], unit)
