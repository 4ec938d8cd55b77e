"""The device catalogue: catalogue.toml, and the user's devices under [devices.NAME] in edgehone.toml."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.device.facts import Device

ROWS = ("intel", "nvidia", "apple", "arm_mobile", "arm_embedded", "edge_tpu", "cross_platform")
ARCHITECTURES = ("x86_64", "aarch64", "arm64")
_TEXTS = ("title", "row", "architecture", "cpu")
_LISTS = ("simd", "accelerators", "sources")
_NUMBERS = (
    "memory_gb",
    "memory_mt_s",
    "memory_bits",
    "bandwidth_gb_s",
    "measured_gb_s",
    "clock_ghz",
    "flops_per_cycle",
    "gpu_tflops",
    "last_cache_mb",
    "size_budget_mb",
)

# Plausible ranges, which reveal values in a wrong unit (bytes for gigabytes, MHz for GHz).
PLAUSIBLE: Mapping[str, tuple[float, float]] = {
    "memory_gb": (0.01, 4096),
    "memory_mt_s": (100, 20_000),
    "memory_bits": (8, 16_384),
    "bandwidth_gb_s": (0.1, 20_000),
    "measured_gb_s": (0.1, 20_000),
    "clock_ghz": (0.05, 10),
    "flops_per_cycle": (1, 1024),
    "gpu_tflops": (0.001, 1000),
    "last_cache_mb": (0.01, 4096),
    "size_budget_mb": (0.1, 1_000_000),
}


@dataclass(frozen=True)
class CatalogueDevice:
    """A device as described by its data sheet. Unknown values are None; `unknown` has the reason by name.

    `bandwidth_gb_s`: peak memory bandwidth; `measured_gb_s`: the bandwidth a benchmark reached; both in 10⁹ bytes per
    second. Sizes are in bytes. `flops_per_cycle`: float32 operations per core and cycle. `gpu_gflops`: float32
    operations of the GPU, in 10⁹ per second. `cannot`: backends that it cannot run, with reasons.
    """

    name: str
    title: str
    row: str  # of the selection matrix
    architecture: str
    cpu: str
    simd: tuple[str, ...]
    threads: int
    memory_bytes: int | None
    bandwidth_gb_s: float | None
    measured_gb_s: float | None
    clock_ghz: float | None
    flops_per_cycle: float | None
    gpu_gflops: float | None
    last_cache_bytes: int | None
    size_budget_bytes: int | None
    accelerators: tuple[str, ...]
    sources: tuple[str, ...]
    cannot: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def gflops(self) -> float | None:
        """Peak float32 rate of all threads, in 10⁹ operations per second: threads · clock · operations per cycle."""
        if self.clock_ghz is None or self.flops_per_cycle is None:
            return None
        return self.threads * self.clock_ghz * self.flops_per_cycle

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return {**asdict(self), "cannot": dict(self.cannot), "unknown": dict(self.unknown)}


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, CatalogueDevice]:
    """Return the shipped devices by name."""
    path = Path(__file__).with_name("catalogue.toml")
    return read(tomllib.loads(path.read_text("utf-8")), path.name)


def catalogue(config: Mapping[str, Any] | None = None) -> dict[str, CatalogueDevice]:
    """Return the shipped devices, overridden and extended by [devices.NAME] of a parsed edgehone.toml."""
    return {**shipped(), **read((config or {}).get("devices", {}), "[devices] in edgehone.toml")}


def find(name: str, config: Mapping[str, Any] | None = None) -> CatalogueDevice:
    """Return the device with this name. Raises InputError, with a suggestion, for an unknown name."""
    known = catalogue(config)
    if name not in known:
        hint = suggest(name, known, "edgehone device list shows all", cutoff=0.5)
        raise InputError(f"unknown device {name!r}", hint=hint)
    return known[name]


def read(tables: Any, where: str) -> dict[str, CatalogueDevice]:
    """Return the devices in parsed TOML. Raises InputError with file, device, key and value for an invalid entry."""
    if not isinstance(tables, Mapping):
        raise InputError(f"{where} is {tables!r}, not tables", hint="write [devices.NAME]")
    return {name: _device(name, table, f"{where}: {name}") for name, table in tables.items()}


def platform_row(device: Device | CatalogueDevice) -> str:
    """Return the row of the selection matrix for a machine or a device of the catalogue."""
    if isinstance(device, CatalogueDevice):
        return device.row
    if device.os.startswith("macOS") or device.architecture == "arm64":
        return "apple"
    if device.architecture in ("aarch64", "armv7l"):
        return "arm_embedded"
    return "intel" if "intel" in f"{device.vendor} {device.cpu}".lower() else "cross_platform"


def _device(name: str, table: Any, where: str) -> CatalogueDevice:
    if not isinstance(table, Mapping):
        raise InputError(f"{where} is {table!r}, not a table", hint=f"write [devices.{name}]")
    known = (*_TEXTS, *_LISTS, *_NUMBERS, "threads", "cannot", "unknown")
    for key in table:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}", hint=suggest(key, known))
    texts = {key: _text(table, key, where) for key in _TEXTS}
    _one_of(texts["row"], ROWS, f"{where}: row")
    _one_of(texts["architecture"], ARCHITECTURES, f"{where}: architecture")
    lists = {key: _texts(table, key, where) for key in _LISTS}
    numbers = {key: _number(table, key, where) for key in _NUMBERS}
    threads = table.get("threads")
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise InputError(f"{where}: threads is {threads!r}", hint="give a whole number of 1 or more")
    _plausible(numbers, where)
    return CatalogueDevice(
        name=name,
        **texts,
        simd=lists["simd"],
        threads=threads,
        memory_bytes=_whole(numbers["memory_gb"], 1e9),
        bandwidth_gb_s=_bandwidth(numbers, where),
        measured_gb_s=numbers["measured_gb_s"],
        clock_ghz=numbers["clock_ghz"],
        flops_per_cycle=numbers["flops_per_cycle"],
        gpu_gflops=None if numbers["gpu_tflops"] is None else numbers["gpu_tflops"] * 1e3,
        last_cache_bytes=_whole(numbers["last_cache_mb"], 1e6),
        size_budget_bytes=_whole(numbers["size_budget_mb"], 1e6),
        accelerators=lists["accelerators"],
        sources=lists["sources"],
        cannot=_reasons(table, "cannot", 'openvino = "why"', where),
        unknown=_with_reasons(_reasons(table, "unknown", 'memory_gb = "why"', where), numbers),
    )


def _bandwidth(numbers: Mapping[str, float | None], where: str) -> float | None:
    clock, bits, given = numbers["memory_mt_s"], numbers["memory_bits"], numbers["bandwidth_gb_s"]
    if given is not None and (clock is not None or bits is not None):
        raise InputError(
            f"{where}: bandwidth_gb_s excludes memory_mt_s and memory_bits", hint="give one or the other"
        )
    if (clock is None) != (bits is None):
        raise InputError(
            f"{where}: memory_mt_s and memory_bits require each other", hint="give both, or bandwidth_gb_s"
        )
    return given if clock is None or bits is None else clock * bits / 8000


def _reasons(table: Mapping[str, Any], key: str, example: str, where: str) -> dict[str, str]:
    value = table.get(key, {})
    if not isinstance(value, Mapping) or not all(isinstance(reason, str) for reason in value.values()):
        raise InputError(f"{where}: {key} is {value!r}", hint=f"write {key} = {{ {example} }}")
    return dict(value)


def _with_reasons(unknown: dict[str, str], numbers: Mapping[str, float | None]) -> dict[str, str]:
    """Add a reason for each missing value."""
    missing = {
        "memory_gb": numbers["memory_gb"] is None,
        "bandwidth": numbers["bandwidth_gb_s"] is None and numbers["memory_mt_s"] is None,
        "compute": numbers["clock_ghz"] is None or numbers["flops_per_cycle"] is None,
        "gpu": numbers["gpu_tflops"] is None,
        "last_cache": numbers["last_cache_mb"] is None,
    }
    for key, is_missing in missing.items():
        if is_missing:
            unknown.setdefault(key, "not stated in the catalogue")
    return unknown


def _plausible(numbers: Mapping[str, float | None], where: str) -> None:
    """Raise InputError for a number outside of its plausible range, as one in a wrong unit is."""
    for key, (least, most) in PLAUSIBLE.items():
        value = numbers[key]
        if value is not None and not least <= value <= most:
            raise InputError(
                f"{where}: {key} is {value:g}, which is not plausible",
                hint=f"the unit is in the name; values from {least:g} to {most:g} are accepted",
            )


def _whole(value: float | None, scale: float) -> int | None:
    return None if value is None else round(value * scale)


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {key} is {value!r}", hint=f'write {key} = "…"')
    return value


def _texts(table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InputError(f"{where}: {key} is {value!r}", hint=f'write {key} = ["…", "…"]')
    return tuple(value)


def _number(table: Mapping[str, Any], key: str, where: str) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not plain or not math.isfinite(value) or value <= 0:
        unit = key.rpartition("memory_")[2] if key.startswith("memory_m") else key
        raise InputError(
            f"{where}: {key} is {value!r}",
            hint=f"give a plain number above 0; the unit is in the name ({unit})",
        )
    return float(value)


def _one_of(value: str, known: tuple[str, ...], where: str) -> None:
    if value not in known:
        raise InputError(f"{where} is {value!r}", hint=suggest(value, known))
